"""Factorised priors whose parameters are learned, of any family.

    p(z) = prod_i p(z_i; lam_i)        lam read off `outputs`, which are trained

They start where a network that puts out zeros is: the standard normal distribution, a
fair coin, the uniform distribution on (0, 1) or on the simplex.
"""

import jax.numpy as jnp

from vaejax.core import Family, Prior
from vaejax.families import bernoulli, categorical, diagonal_normal


def learned(family: Family, latent_dim: int) -> Prior:
    """Independent latents of this family, with parameters of their own.

    Args:
        family: of the latents.
        latent_dim: how many coordinates `Family.from_outputs` describes.
    """
    shape = family.outputs_per_coordinate, latent_dim
    return Prior(
        name=f"learned_{family.name}",
        family=family,
        init=lambda key: {"outputs": jnp.zeros(shape)},
        apply=lambda params, y: family.from_outputs(params.prior["outputs"]),
    )


def learned_bernoulli(latent_dim: int = 200) -> Prior:
    """Independent binary latents with learned logits."""
    return learned(bernoulli(), latent_dim)


def learned_categorical(latent_dim: int = 20, num_categories: int = 10) -> Prior:
    """Independent categorical latents with learned logits."""
    return learned(categorical(num_categories), latent_dim)


def learned_diagonal_normal(latent_dim: int = 50) -> Prior:
    """Independent normal latents with learned locations and scales."""
    return learned(diagonal_normal(), latent_dim)
