"""The state of a training run between steps."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from vaejax.core import Key, Objective, Params, PyTree, VaejaxError
from vaejax.core.doors import expect, expect_kept, expect_key, expect_shapes


class TrainState(NamedTuple):
    """The whole state of a run: state and data determine all later steps.

    A checkpoint is this state. Randomness comes from `key` folded with `step`, so a run
    continues from a state in one way, however the steps are grouped into dispatches.
    """

    params: Params  # the trained ones: see `vaejax.objective.whole_params`
    opt_state: PyTree
    loss_state: PyTree  # a `LossState` for an objective of `make_objective`
    key: Key  # the key of the whole run, never changed
    step: Int[Array, ""]  # number of steps taken
    skipped: Int[Array, ""]  # number of these that were not finite, and not applied
    failed_step: Int[Array, ""]  # the step that was not finite and ended the run, or -1

    def __repr__(self) -> str:
        """The number of steps and the size of each group of parameters."""
        sizes = {
            name: sum(np.size(leaf) for leaf in jax.tree.leaves(group))
            for name, group in self.params._asdict().items()
        }
        groups = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size)
        return f"TrainState(step={self.step}, skipped={self.skipped}; {groups} numbers)"


@partial(jax.jit, static_argnums=(0, 1))
def init_state(
    objective: Objective, optimizer: optax.GradientTransformation, key: Key
) -> TrainState:
    """The state before the first step."""
    init_key, run_key = jax.random.split(expect_key(key))
    params, loss_state = objective.init(init_key)
    return TrainState(
        params=params,
        opt_state=optimizer.init(params),
        loss_state=loss_state,
        key=run_key,
        step=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        failed_step=jnp.full((), -1, jnp.int32),
    )


def expect_state(
    state: TrainState, objective: Objective, optimizer: optax.GradientTransformation
) -> TrainState:
    """Return the state if training of this objective can go on from it.

    Raises:
        VaejaxError: another type; arrays that are freed; arrays of other names or
            shapes, or in another structure, than those of `init_state`.
    """
    expect_kept("state", expect(TrainState, "state", state))
    asked = jax.eval_shape(partial(init_state, objective, optimizer), state.key)
    remedy = "a state of this objective and optimizer, or none to start anew"
    expect_shapes("state", state, asked, "this training", remedy)
    for name, given, own in zip(state._fields, state, asked, strict=True):
        if len({jax.tree.structure(given), jax.tree.structure(own)}) > 1:
            raise VaejaxError(
                f"state.{name} has another structure than in this training: give "
                f"{remedy}"
            )
    return state
