"""The standard normal prior: p(z) = N(0, I), without parameters."""

import jax.numpy as jnp
from jaxtyping import Array

from vaejax.core import Encode, Params, Prior
from vaejax.families import NormalParams, diagonal_normal


def standard_normal(latent_dim: int = 50) -> Prior:
    """Independent standard normal latents; the prior of Kingma and Welling 2014."""

    def apply(encode: Encode, params: Params, y: Array | None) -> NormalParams:
        return NormalParams(jnp.zeros(latent_dim), jnp.zeros(latent_dim))

    return Prior(
        name="standard_normal",
        family=diagonal_normal(),
        init=lambda key: (),
        apply=apply,
    )
