"""Capacity: a penalty on the distance of the KL divergence from a target."""

import jax.numpy as jnp

from vaejax.core import Batch, Key, Model, Params, Regularizer, Scalar
from vaejax.regularizers.closed_form_kl import kl_by_latent, needs
from vaejax.regularizers.draws import check_weight


def capacity(target: float = 25.0, weight: float = 10.0) -> Regularizer:
    """`weight |KL - target| - KL`, with the KL divergence's mean over the batch.

    Beside a bound that holds the KL divergence once, the loss holds
    `weight |KL - target|`. `vaejax.kl_weights.kl_at_most` is the corresponding
    constraint, with a target that may rise in training.

    Valid for: independent latents whose KL divergence is known.

    References:
        Burgess et al. 2018, arXiv:1804.03599.
    """
    check_weight("capacity", "target", target)
    check_weight("capacity", "weight", weight)

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        kl = kl_by_latent(model, params, batch).sum()
        return weight * jnp.abs(kl - target) - kl

    return Regularizer(name="capacity", penalty=penalty, needs=needs, beside_elbo=True)
