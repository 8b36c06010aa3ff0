"""Normal distributions with full covariance, parameterised by its Cholesky factor.

    z = loc + L noise,    L = strict lower triangle of the matrix, exp of its diagonal

Every real matrix is a valid parameter, and log det L is the sum of its diagonal; the
entries above the diagonal are not read.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from vaejax.core import Family, Head, Key, Scalar
from vaejax.families.deviance import exp_rest
from vaejax.families.normal import NormalParams, trapezoidal_rule
from vaejax.ops.random import one_pass


class FullNormalParams(NamedTuple):
    """Location and Cholesky factor; the factor's diagonal is given by its logarithm."""

    loc: Float[Array, "*event"]
    factor: Float[Array, "D D"]  # D, the size of the event


def full_normal(dim: int = 2) -> Family:
    """A normal vector of any covariance, explicitly reparameterised.

    Args:
        dim: D, the size of the event. A network puts out 1 + D numbers per coordinate,
            its location and D entries of the factor.
    """
    return Family(
        name="full_normal",
        sample=_sample,
        log_prob=_log_prob,
        mean=lambda params: params.loc,
        head=Head(
            outputs_per_coordinate=1 + dim,
            from_outputs=lambda outputs: FullNormalParams(
                outputs[0], outputs[1:].reshape(dim, dim)
            ),
            to_outputs=lambda mean: jnp.concatenate(
                [mean[None], jnp.zeros((dim, *mean.shape), mean.dtype)]
            ),
        ),
        reparam="explicit",
        kl=_kl,
        quadrature=_quadrature,
    )


def inverse_factor(params: FullNormalParams) -> Float[Array, "D D"]:
    """The whitening matrix: noise = inverse (z - loc)."""
    return solve_triangular(_cholesky(params), jnp.eye(params.loc.size), lower=True)


def log_prob_of_noise(params: FullNormalParams, noise: Float[Array, " D"]) -> Scalar:
    """The log-density of the z that this noise gives."""
    constant = 0.5 * noise.size * jnp.log(2 * jnp.pi)
    return -0.5 * jnp.square(noise).sum() - _log_det(params) - constant


def _cholesky(params: FullNormalParams) -> Float[Array, "D D"]:
    diagonal = jnp.exp(jnp.diagonal(params.factor))
    return jnp.tril(params.factor, -1) + jnp.diag(diagonal)


def _log_det(params: FullNormalParams) -> Scalar:
    return jnp.diagonal(params.factor).sum()


def _whiten(params: FullNormalParams, z: Float[Array, "*event"]) -> Float[Array, " D"]:
    """The noise that gives z."""
    offset = (z - params.loc).reshape(-1)
    return solve_triangular(_cholesky(params), offset, lower=True)


def _sample(key: Key, params: FullNormalParams) -> Float[Array, "*event"]:
    noise = jax.random.normal(one_pass(key), (params.loc.size,), params.loc.dtype)
    return params.loc + (_cholesky(params) @ noise).reshape(params.loc.shape)


def _log_prob(params: FullNormalParams, z: Float[Array, "*event"]) -> Scalar:
    return log_prob_of_noise(params, _whiten(params, z))


def _kl(p: FullNormalParams, q: FullNormalParams) -> Scalar:
    """(tr(S_q^-1 S_p) + |L_q^-1 (m_q - m_p)|^2 - D) / 2 + log det L_q - log det L_p."""
    diagonal = jnp.diagonal(q.factor)
    log_ratio = jnp.diagonal(p.factor) - diagonal
    # L_q^-1 L_p = 1 + L_q^-1 (L_p - L_q); its diagonal combines with log det.
    change = jnp.tril(p.factor - q.factor, -1)
    change += jnp.diag(jnp.exp(diagonal) * jnp.expm1(log_ratio))
    ratio = jnp.tril(solve_triangular(_cholesky(q), change, lower=True), -1)
    squares = jnp.square(ratio).sum() + jnp.square(_whiten(q, p.loc)).sum()
    return 0.5 * (squares + exp_rest(2 * log_ratio).sum())


def _quadrature(
    params: FullNormalParams, num_nodes: int
) -> tuple[Float[Array, "nodes ..."], Float[Array, " nodes"]]:
    """The trapezoidal rule of `diagonal_normal` on the noise, moved by L."""
    zeros = jnp.zeros(params.loc.size, params.loc.dtype)
    noise, weights = trapezoidal_rule(NormalParams(zeros, zeros), num_nodes)
    moved = (noise @ _cholesky(params).T).reshape(-1, *params.loc.shape)
    return params.loc[None] + moved, weights
