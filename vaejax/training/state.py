"""Everything that a training run carries from step to step."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from vaejax.core import EstState, Key, Objective, Params, PyTree


class TrainState(NamedTuple):
    """A run is a function of this and the data; a checkpoint is this and nothing else.

    Randomness comes from `key` folded with `step`, so the same state always goes on the
    same way, however the steps are grouped into dispatches.
    """

    params: Params
    opt_state: PyTree
    est_state: EstState
    key: Key  # of the whole run, never changed
    step: Int[Array, ""]  # taken so far
    skipped: Int[Array, ""]  # of these, not finite and so not applied
    failed_step: Int[Array, ""]  # the step that was not finite and ended it, or -1


def apart_from_averages(
    objective: Objective, optimizer: optax.GradientTransformation
) -> optax.GradientTransformation:
    """The optimizer, but for the objective's moving averages, which step by themselves.

    They take minus their gradient as their step. `fit`, `init_state` and `make_step`
    wrap what they are given themselves; this is for other loops:

        optimizer = apart_from_averages(objective, optax.adam(1e-3))
        opt_state = optimizer.init(params)
    """
    if objective.moving_averages is None:
        return optimizer
    rules = {True: optax.sgd(1.0), False: optimizer}
    return optax.partition(rules, objective.moving_averages)


@partial(jax.jit, static_argnums=(0, 1))
def init_state(
    objective: Objective, optimizer: optax.GradientTransformation, key: Key
) -> TrainState:
    """The state before the first step."""
    init_key, run_key = jax.random.split(key)
    params, est_state = objective.init(init_key)
    return TrainState(
        params=params,
        opt_state=apart_from_averages(objective, optimizer).init(params),
        est_state=est_state,
        key=run_key,
        step=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        failed_step=jnp.full((), -1, jnp.int32),
    )
