"""The training loop: an endless stream of shuffled passes, cut into epochs."""

import time
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from vaejax.core import Example, Key, Objective, VaejaxError
from vaejax.sharding import DATA, local, put, training_mesh
from vaejax.training.state import TrainState, init_state
from vaejax.training.step import make_step, run_epoch

# Step s draws from fold_in(key, s); the order of the data, from a step never taken.
NO_STEP = 2**31 - 1


class NonFiniteError(VaejaxError):
    """The loss or its gradient was not finite; `state` is the last good state."""

    def __init__(self, state: TrainState) -> None:
        self.state = state
        self.step = int(state.failed_step)
        super().__init__(
            f"the loss or its gradient is not finite at step {self.step}, which was "
            "not applied: lower the learning rate, or look at the data of that step"
        )


class EpochReport(NamedTuple):
    """What `fit` tells after every epoch."""

    epoch: int  # finished so far, from 1
    state: TrainState
    metrics: dict[str, float]  # means over the epoch's steps
    num_images: int  # trained on in this epoch
    seconds: float  # of training, without compilation
    compile_seconds: float  # of the whole run so far


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Steps that see every example about once: ceil(N / B)."""
    return -(-num_examples // batch_size)


def batch_indices(
    num_examples: int, batch_size: int, start_step: int, num_steps: int, seed: int
) -> Int[np.ndarray, "steps B"]:
    """The examples of some steps: consecutive rows of an endless stream of passes.

    Every pass visits every example once, in an order of its own; a batch may hold the
    end of one pass and the start of the next, so none is lost and all are equally full.
    """
    positions = np.arange(
        start_step * batch_size, (start_step + num_steps) * batch_size, dtype=np.int64
    )
    passes, offsets = np.divmod(positions, num_examples)
    indices = np.empty(len(positions), np.int32)
    for number in np.unique(passes):
        order = np.random.default_rng((seed, number)).permutation(num_examples)
        indices[passes == number] = order[offsets[passes == number]]
    return indices.reshape(num_steps, batch_size)


def fit(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    data: Example,
    *,
    epochs: int,
    batch_size: int,
    key: Key,
    observe: Callable[[Key, Array], Array] | None = None,
    micro_batch_size: int | None = None,
    state: TrainState | None = None,
    mesh: Mesh | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainState:
    """Train until `epochs` epochs are done; compile once.

    Args:
        objective: what to minimise.
        optimizer: an optax chain.
        data: the data set as it is stored, every leaf [N, ...]; put on every device.
        epochs: passes over the data, counted from the very first step.
        batch_size: examples per step.
        key: of the run; ignored where a `state` is given.
        observe, micro_batch_size: as for `make_step`; `default_micro_batch_size` is a
            good choice for the latter.
        state: where to go on from; it is donated.
        mesh: the devices that share the batches, from `training_mesh`; by default as
            many as divide them evenly.
        on_epoch: called after every epoch.

    Returns:
        The final state, on the first device.

    Raises:
        NonFiniteError: with the last good state.
        VaejaxError: a batch size or a number of epochs that is not positive.
        AssertionError: leaves of the data of different lengths.
    """
    chex.assert_equal_shape_prefix(jax.tree.leaves(data), 1)  # else x and y mispair
    num_examples = len(jax.tree.leaves(data)[0])
    if min(batch_size, epochs, num_examples) < 1:
        raise VaejaxError(
            f"cannot train for {epochs} epochs on {num_examples} examples in batches "
            f"of {batch_size}: all three must be at least 1"
        )
    if state is None:
        state = init_state(objective, optimizer, key)
    state = state._replace(failed_step=jnp.full((), -1, jnp.int32))  # a new attempt
    step = make_step(
        objective, optimizer, observe=observe, micro_batch_size=micro_batch_size
    )
    num_steps = steps_per_epoch(num_examples, batch_size)
    shuffle_seed = int(jax.random.bits(jax.random.fold_in(state.key, NO_STEP)))
    mesh = mesh or training_mesh(micro_batch_size or batch_size)
    state, data = put((state, data), mesh)
    compiled, compiled_shape, compile_seconds = None, None, 0.0
    for epoch in range(int(state.step) // num_steps, epochs):
        first = int(state.step)  # inside an epoch where a run goes on after a failure
        left = (epoch + 1) * num_steps - first
        indices = batch_indices(num_examples, batch_size, first, left, shuffle_seed)
        indices = put(indices, mesh, None, DATA)
        start = time.perf_counter()
        if compiled is None or indices.shape != compiled_shape:
            with jax.set_mesh(mesh):
                compiled = run_epoch.lower(step, state, data, indices).compile()
            compiled_shape = indices.shape
            compile_seconds += time.perf_counter() - start
            start = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled(state, data, indices))
        seconds = time.perf_counter() - start
        if state.failed_step >= 0:
            raise NonFiniteError(local(state))
        if on_epoch is not None:
            means = {name: float(value) for name, value in metrics.items()}
            on_epoch(
                EpochReport(
                    epoch=epoch + 1,
                    state=local(state),
                    metrics=means,
                    num_images=indices.size,
                    seconds=seconds,
                    compile_seconds=compile_seconds,
                )
            )
    return local(state)
