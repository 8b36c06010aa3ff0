"""The value of `model_bound`; the posterior is trained by `inference_bound`."""

import dataclasses

from vaejax.core import Bound, Model


def train_apart(name: str, model_bound: Bound, inference_bound: Bound) -> Bound:
    """The value of `model_bound`; the posterior is trained by `inference_bound`.

    The model's parameters receive the gradient of `model_bound` with the posterior
    fixed, and the posterior's that of `inference_bound` with the model fixed.

    Examples:
        >>> bound = train_apart("chi_vae", iwae(), cubo())
        >>> bound.name, bound.inference.name
        ('chi_vae', 'cubo')
    """

    def needs(model: Model, num_samples: int) -> str | None:
        return model_bound.needs(model, num_samples) or inference_bound.needs(
            model, num_samples
        )

    return dataclasses.replace(
        model_bound, name=name, needs=needs, inference=inference_bound
    )
