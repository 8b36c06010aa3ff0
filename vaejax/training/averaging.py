"""Averaged parameters: the gradient is taken at one point, and another is evaluated.

    average_t = sum_s decay^(t - s) params_s / sum_s decay^(t - s),   s = 1 .. t

as in Polyak averaging with an exponential window (`optax.ema`, debiased). The average
is part of the optimizer's state: a checkpoint holds it, and a step that is not applied
leaves it alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax.contrib import ScheduleFreeState, schedule_free_eval_params

from vaejax.core import Params


class AveragedState(NamedTuple):
    """The state of an optimizer, and the average of its parameters."""

    optimizer: optax.OptState
    average: optax.EmaState
    decay: jax.Array


def averaged(
    optimizer: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
    """The optimizer, which also averages the parameters that it makes.

    Args:
        optimizer: takes its steps as before.
        decay: of the average, below 1; it covers about 1 / (1 - decay) steps.
    """
    ema = optax.ema(decay)

    def init(params: Params) -> AveragedState:
        return AveragedState(
            optimizer.init(params), ema.init(params), jnp.asarray(decay)
        )

    def update(
        updates: Params, state: AveragedState, params: Params | None = None
    ) -> tuple[Params, AveragedState]:
        updates, inner = optimizer.update(updates, state.optimizer, params)
        after = optax.apply_updates(params, updates)
        _, average = ema.update(after, state.average)
        return updates, AveragedState(inner, average, state.decay)

    return optax.GradientTransformation(init, update)


def evaluated_params(opt_state: optax.OptState, params: Params) -> Params:
    """The parameters to evaluate: the optimizer's average, or `params` if it has none.

    Args:
        opt_state: of any optimizer of optax, or of `averaged`; () for none.
        params: those at which the gradient is taken.

    References:
        Defazio et al. 2024, arXiv:2405.15682, for the average of schedule-free steps.
    """

    def is_averaged(part: object) -> bool:
        return isinstance(part, AveragedState | ScheduleFreeState)

    for part in jax.tree.leaves(opt_state, is_leaf=is_averaged):
        if isinstance(part, ScheduleFreeState):
            return schedule_free_eval_params(part, params)
        if isinstance(part, AveragedState):
            count, average = part.average
            if count == 0:
                return params
            return optax.tree.bias_correction(average, part.decay, count)
    return params
