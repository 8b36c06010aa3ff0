"""Logit-normal distributions on (0, 1): the logistic sigmoid of a normal variable.

z = sigmoid(loc + exp(log_scale) * noise)
log p(z) = log N(logit z; loc, scale) - log z - log(1 - z)
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Family, Scalar, Space
from vaejax.families.heads import two_outputs
from vaejax.families.normal import NormalParams, diagonal_normal
from vaejax.families.uniform import inside_unit_interval, logit


def logit_normal() -> Family:
    """Independent logit-normal variables, explicitly reparameterised.

    The mean has no closed form; a quadrature is exact to 1e-6 for scales up to 10.
    Samples that round to 0 or 1 are moved to the next float inside.
    """
    normal = diagonal_normal()
    assert normal.kl is not None
    assert normal.quadrature is not None
    integrate = normal.quadrature

    def log_prob(params: NormalParams, z: Float[Array, "*event"]) -> Scalar:
        return normal.log_prob(params, logit(z)) - (jnp.log(z) + jnp.log1p(-z)).sum()

    def quadrature(
        params: NormalParams, num_nodes: int
    ) -> tuple[Float[Array, "nodes ..."], Float[Array, " nodes"]]:
        t, weights = integrate(params, num_nodes)
        return _squash(t), weights

    return Family(
        name="logit_normal",
        sample=lambda key, params: _squash(normal.sample(key, params)),
        log_prob=log_prob,
        mean=_mean,
        head=two_outputs(NormalParams, _at_mean),
        space=Space("interval", open=True),
        factorised=True,
        reparam="explicit",
        kl=normal.kl,  # a divergence does not change under a bijection
        quadrature=quadrature,
    )


def _squash(t: Float[Array, "*event"]) -> Float[Array, "*event"]:
    return inside_unit_interval(jax.nn.sigmoid(t))


def _mean(params: NormalParams) -> Float[Array, "*event"]:
    noise = np.linspace(-9, 9, 201)
    weights = np.exp(-0.5 * noise**2)
    weights /= weights.sum()

    def one(loc: Scalar, log_scale: Scalar) -> Scalar:
        z = jax.nn.sigmoid(loc + jnp.exp(log_scale) * jnp.asarray(noise, loc.dtype))
        return jnp.dot(jnp.asarray(weights, loc.dtype), z)

    return jnp.vectorize(one)(params.loc, params.log_scale)


def _at_mean(mean: Float[Array, "*event"]) -> NormalParams:
    """A scale of 1, and the location that gives this mean, by Newton's method."""
    target = logit(jnp.clip(mean, 0.001, 0.999))
    zeros = jnp.zeros_like(target)

    def mean_logit(loc: Float[Array, "*event"]) -> Float[Array, "*event"]:
        return logit(_mean(NormalParams(loc, zeros)))

    def step(_: Array, loc: Float[Array, "*event"]) -> Float[Array, "*event"]:
        value, slope = jax.jvp(mean_logit, (loc,), (jnp.ones_like(loc),))
        return loc - (value - target) / slope

    return NormalParams(jax.lax.fori_loop(0, 6, step, target), zeros)
