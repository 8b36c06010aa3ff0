"""Several updates of the inference network for each of the model: lagging inference."""

import jax
import optax
from jaxtyping import Array, Bool, Int

from vaejax.core import Params


def encoder_first(
    optimizer: optax.GradientTransformation,
    encoder_steps: int,
    *,
    until: int,
    prior_follows: bool = False,
) -> optax.GradientTransformation:
    """Early in training, update decoder and prior only every `encoder_steps` steps.

    Early in training the posterior lags behind the model, which learns to ignore the
    latents; an encoder that is always near its optimum for the current model avoids
    this collapse. He et al. 2019, arXiv:1901.05534, train the encoder until it stops
    improving; here it takes a fixed number of steps, each on a new batch.

    Args:
        optimizer: of either part, with a state for each.
        encoder_steps: n, updates of the encoder per update of the model.
        until: the step from which all are updated at every step.
        prior_follows: whether the prior is no part of the model but trained to track
            the posterior, at every step: a density ratio, as of `implicit_optimal`.
    """

    def is_updated(step: Int[Array, ""]) -> Bool[Array, ""]:
        return (step >= until) | (step % encoder_steps == encoder_steps - 1)

    def labels(params: Params) -> Params:
        groups = params._asdict()
        part = {"decoder": "model", "prior": "inference" if prior_follows else "model"}
        return Params(
            **{
                name: jax.tree.map(lambda _, n=name: part.get(n, "inference"), group)
                for name, group in groups.items()
            }
        )

    return optax.partition(
        {
            "inference": optimizer,
            "model": optax.conditionally_mask(optimizer, is_updated),
        },
        labels,
    )
