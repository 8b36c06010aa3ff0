"""Normal distributions whose covariance is diagonal plus low-rank.

    z = loc + scale * noise + U noise',   covariance diag(scale^2) + U U',

with D entries of noise and R of noise'. By Woodbury's identity and the determinant
lemma every density costs O(D R^2): with V = U / scale and L the Cholesky factor of
I + V'V,

    log det(covariance) = 2 sum log scale + 2 sum log diag L
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float

from vaejax.core import Family, Head, Key, Scalar, VaejaxError
from vaejax.ops.random import one_pass


class LowRankNormalParams(NamedTuple):
    """Location, log of the diagonal's square root, and U transposed."""

    loc: Float[Array, " D"]
    log_scale: Float[Array, " D"]
    factor: Float[Array, "R D"]


def low_rank_normal(dim: int = 2, rank: int = 1) -> Family:
    """A normal vector with R directions of correlation, explicitly reparameterised.

    In float32 the density loses its digits where U exceeds the scale by 1e5 or more.

    Args:
        dim: D, the number of coordinates.
        rank: R, from 1 to D. A network puts out 2 + R numbers per coordinate, its
            location, log-scale and entries of U.

    Raises:
        VaejaxError: a rank out of this range.
    """
    if type(rank) is not int or not 1 <= rank <= dim:
        raise VaejaxError(
            f"rank is {rank!r}, of {dim} coordinates: use an integer from 1 to {dim}, "
            "or full_normal"
        )
    return Family(
        name="low_rank_normal",
        sample=_sample,
        log_prob=_log_prob,
        mean=lambda params: params.loc,
        head=Head(
            outputs_per_coordinate=2 + rank,
            from_outputs=lambda outputs: LowRankNormalParams(
                outputs[0], outputs[1], outputs[2:]
            ),
            to_outputs=lambda mean: jnp.concatenate(
                [mean[None], jnp.zeros((1 + rank, *mean.shape), mean.dtype)]
            ),
        ),
        reparam="explicit",
        kl=_kl,
    )


def _sample(key: Key, params: LowRankNormalParams) -> Float[Array, " D"]:
    own_key, shared_key = jax.random.split(key)
    own = jax.random.normal(one_pass(own_key), params.loc.shape, params.loc.dtype)
    shared = jax.random.normal(shared_key, params.factor.shape[:1], params.loc.dtype)
    return params.loc + jnp.exp(params.log_scale) * own + shared @ params.factor


def _whitened(
    params: LowRankNormalParams,
) -> tuple[Float[Array, "D R"], Float[Array, "R R"]]:
    """V = U / scale, and the Cholesky factor of I + V'V."""
    v = (params.factor * jnp.exp(-params.log_scale)[None]).T
    identity = jnp.eye(v.shape[1], dtype=v.dtype)
    return v, jnp.linalg.cholesky(identity + v.T @ v)


def _square(params: LowRankNormalParams, offset: Float[Array, " D"]) -> Scalar:
    """The squared length of an offset in the metric covariance^-1.

    It is min_x |offset / scale - V x|^2 + |x|^2, Woodbury's identity as a sum of
    squares.
    """
    v, lower = _whitened(params)
    offset = offset * jnp.exp(-params.log_scale)
    x = cho_solve((lower, True), offset @ v)
    return jnp.square(offset - v @ x).sum() + jnp.square(x).sum()


def _half_log_det(params: LowRankNormalParams) -> Scalar:
    _, lower = _whitened(params)
    return params.log_scale.sum() + jnp.log(jnp.diagonal(lower)).sum()


def _log_prob(params: LowRankNormalParams, z: Float[Array, " D"]) -> Scalar:
    constant = 0.5 * z.size * jnp.log(2 * jnp.pi)
    return -0.5 * _square(params, z - params.loc) - _half_log_det(params) - constant


def _kl(p: LowRankNormalParams, q: LowRankNormalParams) -> Scalar:
    """(tr(C_q^-1 C_p) + |m_p - m_q|^2 in C_q^-1 - D + log det C_q - log det C_p) / 2.

    The trace sums p's diagonal times the diagonal of C_q^-1, and one square for every
    column of p's U.
    """
    v, lower = _whitened(q)
    leverage = jnp.square(solve_triangular(lower, v.T, lower=True)).sum(0)
    of_diagonal = jnp.exp(2 * (p.log_scale - q.log_scale)) * (1 - leverage)
    of_columns = jax.vmap(_square, (None, 0))(q, p.factor)
    squares = of_diagonal.sum() + of_columns.sum() + _square(q, p.loc - q.loc)
    kl = 0.5 * (squares - p.loc.size) + _half_log_det(q) - _half_log_det(p)
    return jnp.maximum(kl, 0.0)  # rounding may make it negative
