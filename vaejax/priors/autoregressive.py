"""An autoregressive prior: each latent is normal given those before it.

    p(z) = prod_i N(z_i; m_i(z_<i), s_i(z_<i)^2)

One network with masked weights (MADE) gives all conditionals: output i sees only the
inputs before i, so that a density takes one pass, and a sample one pass per latent.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Family, Key, Prior, Scalar, VaejaxError, head_of
from vaejax.families import NormalParams, diagonal_normal
from vaejax.priors.learned import learned


class MaskedWeights(NamedTuple):
    """Weights of a network with one hidden layer; masked weights are not read."""

    hidden: Float[Array, "H Z"]
    bias: Float[Array, " H"]
    out: Float[Array, "2 Z H"]


class AutoregressiveParams(NamedTuple):
    """The parameters that the network's outputs are added to, and its weights."""

    start: NormalParams
    weights: MaskedWeights


def autoregressive(latent_dim: int = 50, hidden: int = 300) -> Prior:
    """Normal conditionals from a masked network; starts as the standard normal.

    Args:
        latent_dim: number of latents.
        hidden: width of the network's hidden layer.

    References:
        Germain et al. 2015, "MADE", arXiv:1502.03509; as a prior over latents: Chen et
        al. 2017, "Variational lossy autoencoder", arXiv:1611.02731.
    """
    if hidden < 1:
        raise VaejaxError(f"hidden is {hidden}: use a width of at least 1")
    prior = learned(_autoregressive_normal(latent_dim, hidden), latent_dim)
    return dataclasses.replace(prior, name="autoregressive")


def _autoregressive_normal(dim: int, hidden: int) -> Family:
    conditionals = _masked_network(dim, hidden)
    normal = diagonal_normal()
    head = head_of(normal)

    def sample(key: Key, params: AutoregressiveParams) -> Float[Array, " Z"]:
        noise = jax.random.normal(key, (dim,), params.start.loc.dtype)

        def draw(i: Array, z: Array) -> Array:
            loc, log_scale = conditionals(params, z)
            return z.at[i].set(loc[i] + jnp.exp(log_scale[i]) * noise[i])

        return jax.lax.fori_loop(0, dim, draw, jnp.zeros_like(noise))

    def log_prob(params: AutoregressiveParams, z: Float[Array, " Z"]) -> Scalar:
        return normal.log_prob(conditionals(params, z), z)

    def init(key: Key) -> MaskedWeights:
        return MaskedWeights(
            hidden=jax.random.normal(key, (hidden, dim)) / np.sqrt(dim),
            bias=jnp.zeros(hidden),
            out=jnp.zeros((2, dim, hidden)),
        )

    return Family(
        name="autoregressive_normal",
        sample=sample,
        log_prob=log_prob,
        mean=lambda params: conditionals(params, params.start.loc).loc,
        head=dataclasses.replace(
            head,
            from_outputs=lambda outputs, weights: AutoregressiveParams(
                head.from_outputs(outputs), weights
            ),
            weights=init,
        ),
        reparam="explicit",
        exact_mean=False,
    )


def _masked_network(
    dim: int, hidden: int
) -> Callable[[AutoregressiveParams, Array], NormalParams]:
    """A function from latents to all conditionals' parameters, in one pass."""
    latent = np.arange(dim)
    # Hidden unit h sees latents up to last_seen[h]; the later latents' outputs see h.
    last_seen = np.arange(hidden) % max(dim - 1, 1)
    into = last_seen[:, None] >= latent[None]
    onward = latent[:, None] > last_seen[None]

    def apply(params: AutoregressiveParams, z: Float[Array, " Z"]) -> NormalParams:
        weights = params.weights
        h = jnp.tanh((into * weights.hidden) @ z + weights.bias)
        loc, log_scale = (onward[None] * weights.out) @ h
        return NormalParams(params.start.loc + loc, params.start.log_scale + log_scale)

    return apply
