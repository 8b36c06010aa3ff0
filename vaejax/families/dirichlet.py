"""Dirichlet distributions on the simplex, by the logarithms of their concentrations.

    log p(z) = sum_i (a_i - 1) log z_i - sum_i log Gamma(a_i) + log Gamma(sum_i a_i)

The last axis of an event lies on the simplex; any axes before it are independent. A
Dirichlet vector is a normalised vector of gamma variables, each reparameterised
implicitly (Figurnov et al. 2018, arXiv:1805.08498).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Family, Key, Scalar, Space
from vaejax.families.beta import BetaParams, unit_interval_rule
from vaejax.families.gamma import log_gamma_sample
from vaejax.families.heads import one_output
from vaejax.families.integrals import tensor_rule
from vaejax.families.shares import log_density_of_logs, share_divergence


def dirichlet() -> Family:
    """Vectors that sum to one, implicitly reparameterised; parameters log a, [..., C].

    The density is taken over the first C - 1 coordinates, at z / sum z: the sum of a
    rounded z does not matter. Samples are normalised in logarithms, so that
    concentrations of 0.01 do not give 0 / 0; a coordinate that underflows is returned
    as the smallest normal float. In float32 log-densities are tested to 1e-3 nats up to
    concentrations of 1e6. Larger ones are not refused: at 1e8 an error of 4e-4 was
    measured.
    """
    return Family(
        name="dirichlet",
        sample=_sample,
        log_prob=_log_prob,
        mean=lambda log_concentration: jax.nn.softmax(log_concentration),
        # Concentrations that sum to C, as the uniform distribution's do.
        head=one_output(lambda mean: jnp.log(mean.shape[-1] * jnp.maximum(mean, 1e-3))),
        space=Space("simplex"),
        reparam="implicit",
        kl=_kl,
        quadrature=_quadrature,
    )


def _sample(
    key: Key, log_concentration: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    z = jax.nn.softmax(log_gamma_sample(key, log_concentration))
    return jnp.maximum(z, jnp.finfo(z.dtype).tiny)


def _log_prob(
    log_concentration: Float[Array, "*event"], z: Float[Array, "*event"]
) -> Scalar:
    log_a, z = (jnp.moveaxis(leaf, -1, 0) for leaf in (log_concentration, z))
    a, log_z = jnp.exp(log_a), jnp.log(z)
    excess = a - a.sum(0)[None] * z
    return (log_density_of_logs(log_a, log_z, excess) - log_z.sum(0)).sum()


def _kl(p: Float[Array, "*event"], q: Float[Array, "*event"]) -> Scalar:
    return share_divergence(*(jnp.moveaxis(leaf, -1, 0) for leaf in (p, q))).sum()


def _quadrature(
    log_concentration: Float[Array, " C"], num_nodes: int
) -> tuple[Float[Array, "S C"], Float[Array, " S"]]:
    """A product rule over the C - 1 beta variables that break the stick [0, 1].

    z_i is a share beta(a_i, a_{i+1} + ... + a_C) of 1 - z_1 - ... - z_{i-1}. Nodes are
    fixed, the weights carry the gradient.
    """
    a = jnp.exp(log_concentration)
    rest = jnp.cumsum(a[::-1])[::-1][1:]
    sticks = BetaParams(log_concentration[:-1], jnp.log(rest))
    share, weights = tensor_rule(*unit_interval_rule(sticks, num_nodes))
    ones = jnp.ones_like(share[:, :1])
    left = jnp.concatenate([ones, jnp.cumprod(1 - share, -1)], -1)
    return jnp.concatenate([share, ones], -1) * left, weights
