"""Draws of a batch's latents and of the prior's, as regularizers compare them."""

import math

import jax
from jaxtyping import Array, Float

from vaejax.core import Batch, Example, Key, Model, Params, VaejaxError, fold_examples


def posterior_draws(
    model: Model, params: Params, key: Key, batch: Batch
) -> Float[Array, "B D"]:
    """One z ~ q(z|x) of every example, flat: a sample of the aggregated posterior."""

    def one(key: Key, example: Example) -> Float[Array, " D"]:
        return model.posterior.sample(key, model.encode(params, example)).reshape(-1)

    return jax.vmap(one)(fold_examples(key, batch.global_index), batch.example)


def prior_draws(
    model: Model, params: Params, key: Key, batch: Batch
) -> Float[Array, "B D"]:
    """One u ~ p(z) for every example, flat."""

    def one(key: Key, example: Example) -> Float[Array, " D"]:
        return model.latent_prior.sample(key, model.prior(params, example.y)).reshape(
            -1
        )

    return jax.vmap(one)(fold_examples(key, batch.global_index), batch.example)


def needs_path(model: Model) -> str | None:
    """Why no gradient reaches the encoder through its samples, if none does."""
    if model.posterior.reparam is not None:
        return None
    return (
        "its gradient goes through samples of a reparameterisable posterior, and "
        f"{model.posterior.name} is none: leave the regularizer out"
    )


def check_weight(regularizer: str, setting: str, value: float) -> None:
    """Raise a `VaejaxError` for a weight below 0, or none at all."""
    if not 0 <= value < math.inf:  # so that NaN is refused too
        raise VaejaxError(
            f"the {setting} of {regularizer} is {value}: use at least 0, and finite"
        )


def check_batch(regularizer: str, batch: Batch) -> None:
    """Raise a `VaejaxError` for a single example, which has no other."""
    if batch.global_index.size < 2:
        raise VaejaxError(
            f"{regularizer} compares the examples of a batch with each other, and this "
            f"one holds {batch.global_index.size}: use batches (and micro-batches) of "
            "at least 2"
        )
