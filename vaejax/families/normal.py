"""Normal distributions with diagonal covariance.

`diagonal_normal` serves as posterior, as prior and as a likelihood with a variance
learned for every coordinate. The likelihood `fixed_normal` has a scale that is a
setting; `shared_normal` learns a scale that is the same at every x and z.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import Couplings, Family, Key, Measure, Scalar
from vaejax.families.deviance import exp_rest
from vaejax.families.heads import two_outputs
from vaejax.families.scales import with_fixed_scale, with_shared_scale
from vaejax.ops.random import one_pass


class NormalParams(NamedTuple):
    """Location and log standard deviation of every coordinate."""

    loc: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]


def diagonal_normal() -> Family:
    """Independent normal variables, explicitly reparameterised.

    z = loc + exp(log_scale) * noise, with standard normal noise.
    """
    # distrax takes as long to import as jax: the import waits until a family is built.
    # It is not inside the functions below, which are traced.
    import distrax

    def distribution(params: NormalParams) -> distrax.Distribution:
        return distrax.Normal(params.loc, jnp.exp(params.log_scale))

    def log_prob(params: NormalParams, z: Float[Array, "*event"]) -> Scalar:
        # Flat: XLA's CPU reductions over a short last axis (C = 1) are 30 times slower.
        flat = NormalParams(*(leaf.reshape(-1) for leaf in params))
        return distribution(flat).log_prob(z.reshape(-1)).sum()

    return Family(
        name="diagonal_normal",
        sample=_sample,
        log_prob=log_prob,
        mean=lambda params: params.loc,
        head=two_outputs(NormalParams, lambda mean: (mean, jnp.zeros_like(mean))),
        factorised=True,
        reparam="explicit",
        kl=_kl,
        quadrature=trapezoidal_rule,
        couplings=Couplings(measure=_measure, retrace=_retrace),
    )


def fixed_normal(scale: float = 0.1) -> Family:
    """Independent normal variables of one fixed scale; the parameter is the mean."""
    return with_fixed_scale("fixed_normal", diagonal_normal(), scale)


def shared_normal(channels: int = 1, initial_scale: float = 0.1) -> Family:
    """Independent normal variables of one learned scale, or one for every channel.

    Args:
        channels: the length of the data's last axis, for a scale of each; 1 for one.
        initial_scale: where learning starts.

    References:
        Rybkin, Daniilidis and Levine 2021, arXiv:2006.13202.
    """
    return with_shared_scale(
        "shared_normal", diagonal_normal(), channels, initial_scale
    )


def _sample(key: Key, params: NormalParams) -> Float[Array, "*event"]:
    noise = jax.random.normal(one_pass(key), params.loc.shape, params.loc.dtype)
    return params.loc + jnp.exp(params.log_scale) * noise


def _kl(p: NormalParams, q: NormalParams) -> Scalar:
    """(r - 1 - log r + (m_p - m_q)^2 / s_q^2) / 2, with r the ratio of variances."""
    squares = jnp.square((p.loc - q.loc) * jnp.exp(-q.log_scale))
    rests = exp_rest(2 * (p.log_scale - q.log_scale))
    return 0.5 * (squares + rests).reshape(-1).sum()


def _measure(key: Key, params: NormalParams) -> Measure:
    """The pairs of Mohamed et al. 2020, arXiv:1906.10652, coupled.

    Location: loc +- scale W with one Weibull W of density w exp(-w^2 / 2), constant
    1 / (scale sqrt(2 pi)). Scale: loc + scale M with M of the double-sided Maxwell
    density m^2 exp(-m^2 / 2) / sqrt(2 pi), against the normal itself as loc + scale M U
    with U uniform; constant 1 / scale, which is 1 for the log-scale.
    """
    w_key, m_key, u_key, sign_key = jax.random.split(key, 4)
    shape, dtype = params.loc.shape, params.loc.dtype
    scale = jnp.exp(params.log_scale)
    weibull = jnp.sqrt(2 * jax.random.exponential(w_key, shape, dtype))
    # The length of a normal vector in three dimensions, of either sign; the cosine of
    # such a vector with an axis is uniform, and its component there is normal.
    length = jnp.sqrt((jax.random.normal(m_key, (3, *shape), dtype) ** 2).sum(0))
    maxwell = length * jax.random.rademacher(sign_key, shape, dtype)
    uniform = jax.random.uniform(u_key, shape, dtype)
    return Measure(
        constant=NormalParams(1 / (scale * np.sqrt(2 * np.pi)), jnp.ones_like(scale)),
        positive=NormalParams(
            params.loc + scale * weibull, params.loc + scale * maxwell
        ),
        negative=NormalParams(
            params.loc - scale * weibull, params.loc + scale * maxwell * uniform
        ),
    )


def _retrace(params: NormalParams, z: Float[Array, "*event"]) -> Float[Array, "*event"]:
    noise = stop_gradient((z - params.loc) * jnp.exp(-params.log_scale))
    return params.loc + jnp.exp(params.log_scale) * noise


def trapezoidal_rule(
    params: NormalParams, num_nodes: int
) -> tuple[Float[Array, "nodes ..."], Float[Array, " nodes"]]:
    """Trapezoidal rule on noise of at most 9 standard deviations, in every coordinate.

    Its error falls exponentially in the number of nodes for analytic integrands
    (Trefethen and Weideman 2014); the mass that is cut off is 2e-19.
    """
    nodes = np.linspace(-9, 9, num_nodes)
    log_weights = -0.5 * nodes**2 - np.log(np.exp(-0.5 * nodes**2).sum())
    dim = params.loc.size
    grid = np.stack(np.meshgrid(*[nodes] * dim, indexing="ij"), -1).reshape(-1, dim)
    log_weight = np.stack(np.meshgrid(*[log_weights] * dim, indexing="ij"), -1)
    noise = jnp.asarray(grid.reshape(-1, *params.loc.shape), params.loc.dtype)
    z = params.loc[None] + jnp.exp(params.log_scale)[None] * noise
    weights = np.exp(log_weight.sum(-1).reshape(-1))
    return z, jnp.asarray(weights, params.loc.dtype)
