"""Factorised priors of any family, with learned parameters.

    p(z) = prod_i p(z_i; lam_i)        lam read off `outputs`, which are trained

The priors start at zero outputs: the standard normal distribution, a fair coin, the
uniform distribution on (0, 1) or on the simplex.
"""

import jax.numpy as jnp
from jaxtyping import Array

from vaejax.core import DistParams, Encode, Family, Key, Params, Prior, PyTree, head_of
from vaejax.families import bernoulli, categorical, diagonal_normal


def learned(family: Family, latent_dim: int) -> Prior:
    """Independent latents of this family, with learned parameters.

    Args:
        family: of the latents.
        latent_dim: how many coordinates `Head.from_outputs` describes.

    Raises:
        IncompatibleError: a family without a head.
    """
    head = head_of(family)
    shape = head.outputs_per_coordinate, latent_dim

    def init(key: Key) -> dict[str, PyTree]:
        own = {} if head.weights is None else {"weights": head.weights(key)}
        return {"outputs": jnp.zeros(shape), **own}

    def apply(encode: Encode, params: Params, y: Array | None) -> DistParams:
        return head.read(params.prior["outputs"], params.prior.get("weights"))

    return Prior(name=f"learned_{family.name}", family=family, init=init, apply=apply)


def learned_bernoulli(latent_dim: int = 200) -> Prior:
    """Independent binary latents with learned logits."""
    return learned(bernoulli(), latent_dim)


def learned_categorical(latent_dim: int = 20, num_categories: int = 10) -> Prior:
    """Independent categorical latents with learned logits."""
    return learned(categorical(num_categories), latent_dim)


def learned_diagonal_normal(latent_dim: int = 50) -> Prior:
    """Independent normal latents with learned locations and scales."""
    return learned(diagonal_normal(), latent_dim)
