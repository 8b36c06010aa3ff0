"""A normal prior whose location and scale are learned: p(z) = N(m, diag(s^2))."""

import jax.numpy as jnp
from jaxtyping import Array

from vaejax.core import Params, Prior
from vaejax.families import NormalParams, diagonal_normal


def learned_normal(latent_dim: int = 50) -> Prior:
    """Independent normal latents with learned moments; it starts standard."""

    def apply(params: Params, y: Array | None) -> NormalParams:
        return NormalParams(params.prior["loc"], params.prior["log_scale"])

    return Prior(
        name="learned_normal",
        family=diagonal_normal(),
        init=lambda key: {
            "loc": jnp.zeros(latent_dim),
            "log_scale": jnp.zeros(latent_dim),
        },
        apply=apply,
    )
