"""The optimizers that a command line can name: those of optax, with typed settings.

Each factory takes the learning rate as a schedule, a function of the step, and returns
optax's own transformation. `schedule_free_adamw` and `schedule_free_sgd` take the
gradient at one point and average another, which is evaluated: see `evaluated_params`.
"""

from collections.abc import Callable
from typing import Annotated

import optax

from vaejax.core import Registry
from vaejax.core.build import check_calls
from vaejax.core.ranges import Range

Decay = Annotated[float, Range(0, 0.9999999)]  # of a moving average
AboveZero = Annotated[float, Range(0, 0.9999999, above=True)]
Small = Annotated[float, Range(0, 1, above=True)]
NotNegative = Annotated[float, Range(0, 1e6)]


def adam(
    learning_rate: optax.Schedule,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Small = 1e-8,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980)."""
    return optax.adam(learning_rate, b1, b2, eps, nesterov=nesterov)


def adamw(
    learning_rate: optax.Schedule,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Small = 1e-8,
    weight_decay: NotNegative = 1e-4,
) -> optax.GradientTransformation:
    """Adam, decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    return optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay)


def adamax(
    learning_rate: optax.Schedule,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Small = 1e-8,
) -> optax.GradientTransformation:
    """Adam by the largest gradient, not the squares (Kingma and Ba 2015)."""
    return optax.adamax(learning_rate, b1, b2, eps)


def sgd(
    learning_rate: optax.Schedule, momentum: Decay = 0.0, nesterov: bool = False
) -> optax.GradientTransformation:
    """Stochastic gradient descent, with momentum if that is above 0."""
    return optax.sgd(learning_rate, momentum or None, nesterov)


def rmsprop(
    learning_rate: optax.Schedule,
    decay: Decay = 0.9,
    eps: Small = 1e-8,
    momentum: Decay = 0.0,
    centered: bool = False,
) -> optax.GradientTransformation:
    """RMSProp (Hinton 2012, lecture 6e)."""
    return optax.rmsprop(
        learning_rate, decay, eps, centered=centered, momentum=momentum or None
    )


def lion(
    learning_rate: optax.Schedule,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    weight_decay: NotNegative = 1e-3,
) -> optax.GradientTransformation:
    """Lion: the sign of a momentum (Chen et al. 2023, arXiv:2302.06675)."""
    return optax.lion(learning_rate, b1, b2, weight_decay=weight_decay)


def muon(
    learning_rate: optax.Schedule,
    beta: Decay = 0.95,
    weight_decay: NotNegative = 0.0,
    nesterov: bool = True,
) -> optax.GradientTransformation:
    """Muon: orthogonal updates of matrices, Adam for other arrays (Jordan 2024)."""
    return optax.contrib.muon(
        learning_rate, beta=beta, weight_decay=weight_decay, nesterov=nesterov
    )


def schedule_free_adamw(
    learning_rate: optax.Schedule,
    b1: AboveZero = 0.9,
    b2: Decay = 0.999,
    eps: Small = 1e-8,
    weight_decay: NotNegative = 0.0,
) -> optax.GradientTransformation:
    """AdamW that averages in the place of a decay (Defazio 2024, arXiv:2405.15682)."""
    return optax.contrib.schedule_free_adamw(
        learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay
    )


def schedule_free_sgd(
    learning_rate: optax.Schedule, b1: AboveZero = 0.9
) -> optax.GradientTransformation:
    """SGD that averages in the place of a decay (Defazio 2024, arXiv:2405.15682)."""
    return optax.contrib.schedule_free_sgd(learning_rate, b1=b1)


OPTIMIZERS: Registry[Callable[..., optax.GradientTransformation]] = Registry(
    "optimizer"
) | {
    "adam": adam,
    "adamw": adamw,
    "adamax": adamax,
    "sgd": sgd,
    "rmsprop": rmsprop,
    "lion": lion,
    "muon": muon,
    "schedule_free_adamw": schedule_free_adamw,
    "schedule_free_sgd": schedule_free_sgd,
}
SCHEDULE_FREE = ("schedule_free_adamw", "schedule_free_sgd")
OF_WHOLE_ARRAYS = ("muon",)  # an update depends on other numbers of the array

check_calls(globals(), OPTIMIZERS)
