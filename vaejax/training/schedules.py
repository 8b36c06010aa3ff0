"""The schedules of a learning rate that a command line can name: those of optax."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import optax

from vaejax.core import Registry, VaejaxError
from vaejax.core.build import check_calls
from vaejax.core.ranges import Range

Share = Annotated[float, Range(0, 1, above=True)]
STAGES = 8  # of the schedule of Burda et al. 2016


class Pace(NamedTuple):
    """What a schedule is made for."""

    learning_rate: float  # the highest
    num_steps: int  # of the run
    epoch_steps: int  # of an epoch


def constant(pace: Pace) -> optax.Schedule:
    """The same rate at every step."""
    return optax.constant_schedule(pace.learning_rate)


def cosine(pace: Pace) -> optax.Schedule:
    """Half a cosine, down to 0 at the last step (Loshchilov and Hutter 2017)."""
    return optax.cosine_decay_schedule(pace.learning_rate, pace.num_steps)


def warmup(pace: Pace, epochs: int = 5) -> optax.Schedule:
    """A line up from 0 in the first epochs, then the same rate at every step."""
    return optax.warmup_constant_schedule(
        0.0, pace.learning_rate, epochs * pace.epoch_steps
    )


def warmup_cosine(pace: Pace, epochs: int = 5) -> optax.Schedule:
    """A line up from 0 in the first epochs, then half a cosine down to 0.

    Raises:
        VaejaxError: the first epochs are all of the run.
    """
    rising = epochs * pace.epoch_steps
    if rising >= pace.num_steps:
        raise VaejaxError(
            f"warmup_cosine's setting epochs={epochs} takes all of the run's "
            f"{pace.num_steps // pace.epoch_steps} epochs: use fewer, or a longer run"
        )
    return optax.warmup_cosine_decay_schedule(
        0.0, pace.learning_rate, rising, pace.num_steps
    )


def piecewise(pace: Pace) -> optax.Schedule:
    """3^i epochs at the rate times 10^(-i/7), i = 0..7, as in the paper of the IWAE.

    The eight stages of Burda et al. 2016 (arXiv:1509.00519), whose first rate is 0.001,
    take 3,280 epochs; a shorter run ends within one of them.
    """
    ends = [(3 ** (i + 1) - 1) // 2 * pace.epoch_steps for i in range(STAGES - 1)]
    falls = dict.fromkeys(ends, 10 ** (-1 / (STAGES - 1)))
    return optax.piecewise_constant_schedule(pace.learning_rate, falls)


def exponential(pace: Pace, end: Share = 0.01) -> optax.Schedule:
    """The rate times end^(step / steps): the run ends at this share of the rate."""
    return optax.exponential_decay(pace.learning_rate, pace.num_steps, end)


SCHEDULES: Registry[Callable[..., optax.Schedule]] = Registry("schedule") | {
    "constant": constant,
    "cosine": cosine,
    "warmup": warmup,
    "warmup_cosine": warmup_cosine,
    "piecewise": piecewise,
    "exponential": exponential,
}
NO_DECAY = ("constant", "warmup")

check_calls(globals(), SCHEDULES)
