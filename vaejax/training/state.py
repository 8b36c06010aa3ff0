"""Everything that a training run carries from step to step."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from vaejax.core import Key, Objective, Params, PyTree


class TrainState(NamedTuple):
    """A run is a function of this and the data; a checkpoint is this and nothing else.

    Randomness comes from `key` folded with `step`, so the same state always goes on the
    same way, however the steps are grouped into dispatches.
    """

    params: Params  # that the optimizer steps: see `vaejax.objective.whole_params`
    opt_state: PyTree
    loss_state: PyTree  # of an objective of `make_objective` a `LossState`
    key: Key  # of the whole run, never changed
    step: Int[Array, ""]  # taken so far
    skipped: Int[Array, ""]  # of these, not finite and so not applied
    failed_step: Int[Array, ""]  # the step that was not finite and ended it, or -1

    def __repr__(self) -> str:
        """The steps, and how many numbers each group of parameters holds."""
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
    init_key, run_key = jax.random.split(key)
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
