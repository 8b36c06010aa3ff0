"""The training loop: an endless stream of shuffled passes, cut into epochs.

An epoch is cut into dispatches of about a second, after each of which the caller may
report, save and stop. The cuts depend on the clock, the results do not.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array

from vaejax.core import (
    Example,
    Key,
    Objective,
    VaejaxError,
    as_arrays,
    check_lengths,
    check_positions,
)
from vaejax.core.build import answered
from vaejax.core.doors import (
    expect,
    expect_callback,
    expect_count,
    expect_counts,
    expect_example,
    expect_key,
)
from vaejax.progress import bar
from vaejax.sharding import DATA, local, put, training_mesh
from vaejax.training.batches import batch_indices, steps_per_epoch
from vaejax.training.diagnose import diagnose
from vaejax.training.start import NO_STEP, observed, started
from vaejax.training.state import TrainState, expect_state, init_state
from vaejax.training.step import Totals, make_step, run_steps, zero_totals

DISPATCH_SECONDS = 1.0


class NonFiniteError(VaejaxError):
    """The loss or its gradient was not finite; `state` is the last good state."""

    def __init__(self, state: TrainState, totals: Totals, cause: str) -> None:
        self.state = state
        self.totals = totals
        self.step = int(state.failed_step)
        skipped = f", after {state.skipped} skipped" if state.skipped else ""
        super().__init__(
            f"the loss or its gradient is not finite at step {self.step}, which was "
            f"not applied{skipped}: {cause}. Lower the learning rate, look at these "
            "data, or let such steps be skipped"
        )


class EpochReport(NamedTuple):
    """The report of `fit` after an epoch."""

    epoch: int  # number of epochs finished, from 1
    state: TrainState
    metrics: dict[str, float]  # means over the epoch's steps that were applied
    num_images: int  # images of this epoch, in this call of `fit`
    seconds: float  # their time, without compilation and callbacks
    compile_seconds: float  # compilation time of the run so far


@answered
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
    max_skipped: int = 0,
    steps_per_dispatch: int | None = None,
    state: TrainState | None = None,
    totals: Totals | None = None,
    mesh: Mesh | None = None,
    progress: bool = False,
    on_dispatch: Callable[[TrainState, Totals], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainState:
    """Train until `epochs` epochs are done; compile once.

    Without a `state`, training starts from the parameters of `objective.start` if any
    (`vade` starts from clusters of the data's codes), and else from new parameters.

    Args:
        objective: what to minimise.
        optimizer: an optax chain.
        data: the data set as it is stored, every leaf [N, ...]; put on every device.
        epochs: passes over the data, counted from the very first step.
        batch_size: examples per step.
        key: of the run; ignored where a `state` is given.
        observe, micro_batch_size, max_skipped: as for `make_step`;
            `default_micro_batch_size` is a good choice for the second.
        steps_per_dispatch: a dispatch ends at every multiple of it, besides the ends of
            epochs and after about a second.
        state: where to go on from; it is donated.
        totals: that belong to a `state` amid an epoch, as `on_dispatch` got them;
            donated. None leaves the steps before it out of that epoch's means.
        mesh: the devices that share the batches, from `training_mesh`; by default as
            many as divide them evenly.
        progress: show a bar of the steps.
        on_dispatch: called after every dispatch with what the run goes on from, bit for
            bit. Both arguments are donated to the next one: copy what is to outlive it.
        on_epoch: called after every epoch, before `on_dispatch`.

    Returns:
        The final state, on the first device, as all that the callbacks get.

    Raises:
        NonFiniteError: with the last good state, and what was not finite.
        VaejaxError: a batch size or a number of epochs that is not positive; a batch
            larger than the data; epochs that the state has behind it; a state that is
            freed, or of another objective or optimizer; data, or what `observe` makes
            of them, that the objective refuses; parts of batches that it needs whole;
            positions that `exemplar` needs; leaves of the data of different lengths;
            callbacks that are no functions.

    Examples:
        >>> objective = make_objective(gaussian_toy((2,)), elbo(), stl(), num_samples=1)
        >>> state = fit(
        ...     objective,
        ...     optax.adam(1e-2),
        ...     Example(jnp.ones((8, 2))),
        ...     epochs=3,
        ...     batch_size=4,
        ...     key=jax.random.key(0),
        ... )
        >>> int(state.step)  # two batches an epoch
        6
    """
    step = make_step(
        objective,
        optimizer,
        observe=observe,
        micro_batch_size=None if micro_batch_size == batch_size else micro_batch_size,
        max_skipped=max_skipped,
    )
    if mesh is not None:
        expect(Mesh, "mesh", mesh)
    if state is None:
        expect_key(key)
    else:
        expect_state(state, objective, optimizer)
    expect_count("epochs", epochs)
    expect_count("batch_size", batch_size)
    expect_counts(
        micro_batch_size=micro_batch_size, steps_per_dispatch=steps_per_dispatch
    )
    expect_callback("on_dispatch", on_dispatch)
    expect_callback("on_epoch", on_epoch)
    run_key = key if state is None else state.key
    data = _checked(objective, observe, jax.random.fold_in(run_key, NO_STEP - 1), data)
    num_examples = len(data.x)
    num_steps = steps_per_epoch(num_examples, batch_size)
    if state is None:
        begun = init_state(objective, optimizer, key)
        state = started(objective, begun, data, observe)
    state = state._replace(failed_step=jnp.full((), -1, jnp.int32))  # a new attempt
    if (done := int(state.step)) >= epochs * num_steps:
        raise VaejaxError(
            f"nothing is left to train: epochs = {epochs} counts from the very first "
            f"step, and the state has taken {done} steps, {num_steps} an epoch: use "
            f"epochs = {done // num_steps + epochs} to train {epochs} more"
        )
    shuffle_seed = int(
        jax.random.bits(jax.random.fold_in(state.key, NO_STEP), dtype=jnp.uint32)
    )
    mesh = mesh or training_mesh(micro_batch_size or batch_size)
    state, data, totals = put((state, data, totals), mesh)
    compiled, compile_seconds = None, 0.0
    fast = 1  # the number of steps that take about a second
    steps = epochs * num_steps
    with bar("training", steps, "steps", shown=progress, note="compiling") as update:
        for epoch in range(done // num_steps, epochs):
            first = epoch * num_steps
            chosen = batch_indices(
                num_examples, batch_size, first, num_steps, shuffle_seed
            )
            indices = put(chosen, mesh, None, DATA)
            if compiled is None:
                start = time.perf_counter()
                with jax.set_mesh(mesh):
                    if totals is None:
                        totals = put(zero_totals(step, state, data, indices), mesh)
                    compiled = run_steps.lower(
                        step, state, totals, data, indices, np.int32(0), np.int32(0)
                    ).compile()
                compile_seconds = time.perf_counter() - start
            num_images, seconds = 0, 0.0
            while done < first + num_steps:
                count = min(fast, first + num_steps - done)
                if steps_per_dispatch is not None:
                    count = min(count, steps_per_dispatch - done % steps_per_dispatch)
                rows = np.int32(done - first), np.int32(done - first + count)
                start = time.perf_counter()
                state, totals = jax.block_until_ready(
                    compiled(state, totals, data, indices, *rows)
                )
                # All processes use one clock, and so take equally many steps.
                elapsed = float(
                    multihost_utils.broadcast_one_to_all(time.perf_counter() - start)
                )
                here, totals_here = local((state, totals))
                if here.failed_step >= 0:
                    failed = jnp.asarray(chosen[int(here.failed_step) - first])
                    cause = diagnose(objective, here, local(data), failed, observe)
                    raise NonFiniteError(here, totals_here, cause)
                fast = max(1, int(DISPATCH_SECONDS * count / elapsed))
                num_images += count * batch_size
                seconds += elapsed
                done += count
                update(done, f"epoch {epoch + 1}")
                if done == first + num_steps:
                    if on_epoch is not None:
                        means = jax.tree.map(float, totals_here.means())
                        on_epoch(
                            EpochReport(
                                epoch=epoch + 1,
                                state=here,
                                metrics=means,
                                num_images=num_images,
                                seconds=seconds,
                                compile_seconds=compile_seconds,
                            )
                        )
                    totals_here = jax.tree.map(jnp.zeros_like, totals_here)
                    totals = put(totals_here, mesh)
                if on_dispatch is not None:
                    on_dispatch(here, totals_here)
    return local(state)


def _checked(
    objective: Objective,
    observe: Callable[[Key, Array], Array] | None,
    key: Key,
    data: Example,
) -> Example:
    """Return the data if the objective takes them, or takes what `observe` returns.

    Raises:
        VaejaxError: see `DataRules.check`; no examples, or leaves of different lengths;
            no positions where the prior leaves an example's own component out.
    """
    data = as_arrays(expect_example("data", data))
    check_lengths(**data._asdict())  # otherwise x and y mispair
    if len(data.x) < 1:
        raise VaejaxError("the data hold no examples: give at least one")
    if objective.data.positions:
        check_positions(data.y, len(data.x))
    if observe is None:
        return objective.data.check(data)
    # Observes every example once, which takes as long as the observations of an epoch.
    for first, part in observed(observe, key, data):
        try:
            objective.data.check(part)
        except VaejaxError as error:
            last = first + len(part.x) - 1
            raise VaejaxError(
                f"{error} (examples {first:,} to {last:,} of {len(data.x):,}, as "
                "`observe` gives them)"
            ) from error
    return data
