"""A factorised Bernoulli prior whose logits are learned: p(z) = prod_i B(z_i)."""

import jax.numpy as jnp

from vaejax.core import Prior
from vaejax.families import bernoulli


def learned_bernoulli(latent_dim: int = 200) -> Prior:
    """Independent Bernoulli latents with learned logits, which start at zero."""
    return Prior(
        name="learned_bernoulli",
        family=bernoulli(),
        init=lambda key: {"logits": jnp.zeros(latent_dim)},
        apply=lambda params, y: params.prior["logits"],
    )
