"""Draws from a batch's posteriors and from the prior, for regularizers to compare."""

import math

import jax
from jaxtyping import Array, Float

from vaejax.core import Batch, Example, Key, Model, Params, VaejaxError, fold_examples


def posterior_draws(
    model: Model, params: Params, key: Key, batch: Batch
) -> Float[Array, "B D"]:
    """One z ~ q(z|x) for every example, flat: a sample of the aggregated posterior."""

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
    """The reason why no gradient reaches the encoder through samples, or None."""
    if model.posterior.reparam is not None:
        return None
    return (
        "its gradient goes through samples of a reparameterisable posterior, and "
        f"{model.posterior.name} is not reparameterisable: leave the regularizer out"
    )


def check_weight(regularizer: str, setting: str, value: float) -> None:
    """Raise a `VaejaxError` for a weight that is below 0 or not finite."""
    if not 0 <= value < math.inf:  # refuses NaN too
        raise VaejaxError(
            f"the {setting} of {regularizer} is {value}: use at least 0, and finite"
        )


def check_batch(regularizer: str, batch: Batch) -> None:
    """Raise a `VaejaxError` for a batch of fewer than two examples."""
    if batch.global_index.size < 2:
        raise VaejaxError(
            f"{regularizer} compares the examples of a batch with each other, and "
            f"this batch holds {batch.global_index.size}: use batches (and "
            "micro-batches) of at least 2"
        )
