"""One update, and many updates in one dispatch.

The data stay on the device as they are stored (uint8); a step gathers its examples,
turns them into observations (drawing a binarization, say), and updates. A dispatch is
one loop over steps, jitted and donated: no Python between steps. The number of steps is
an argument, so that every cut of a run into dispatches is the same compiled program,
and the metrics are summed step by step, so that every cut gives the same bits.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from vaejax.core import (
    Batch,
    Example,
    Key,
    Objective,
    Params,
    PyTree,
    Scalar,
    Stats,
    VaejaxError,
    fold_examples,
)
from vaejax.core.build import answered
from vaejax.core.doors import expect, expect_count, expect_counts, expect_observe
from vaejax.core.ranges import cut
from vaejax.training.state import TrainState

T = TypeVar("T")
Step = Callable[[TrainState, Batch], tuple[TrainState, Stats]]


class Totals(NamedTuple):
    """The metrics' sums over the steps of an epoch that were applied."""

    steps: Int[Array, ""]
    metrics: Stats

    def means(self) -> Stats:
        """Means over the steps; NaN where none was applied."""
        return {name: total / self.steps for name, total in self.metrics.items()}


@answered
def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    observe: Callable[[Key, Array], Array] | None = None,
    micro_batch_size: int | None = None,
    max_skipped: int = 0,
) -> Step:
    """Build `step(state, batch) -> (state, metrics)`.

    A step whose loss or gradient is not finite is not applied: parameters, optimizer
    and estimator stay as they are. The first `max_skipped` such steps are skipped. The
    next one stops the run: `failed_step` names it, and every later step leaves the
    state alone too, so that the last good state is kept until the host checks.

    A step is traced: it checks the shapes and dtypes of its batch, but sees no values.
    The caller checks the values first, by `objective.data.check`, as `fit` does.

    Args:
        objective: what to minimise.
        optimizer: an optax chain; it may expect the parameters.
        observe: turns a stored example into the observation of this step, per example.
        micro_batch_size: examples per gradient; the gradients of a batch's equal parts
            are averaged, which is exact for objectives that are means over examples,
            and others are refused. A divisor of the batch size. None takes the batch
            whole.
        max_skipped: how many steps of the whole run may be skipped.

    Raises:
        VaejaxError: names, functions or numbers in the place of objects; parts of
            batches that the objective needs whole; sizes that are no counts.
    """
    expect(Objective, "objective", objective)
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        expect(optax.GradientTransformation, "optimizer", optimizer)
    expect_observe(observe)
    expect_counts(micro_batch_size=micro_batch_size)
    expect_count("max_skipped", max_skipped, 0)
    check_parts(objective, None, micro_batch_size)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Stats]:
        observe_key, loss_key = step_keys(state)
        batch = observe_batch(observe, observe_key, batch)
        batch = batch._replace(example=objective.data.check(batch.example))
        gradients, loss, (loss_state, metrics) = _mean_gradient(
            objective, state, loss_key, batch, micro_batch_size
        )
        running = state.failed_step < 0
        # A sum is finite only if every term is finite.
        applied = running & jnp.isfinite(loss + optax.tree.sum(gradients))

        def update() -> tuple[Params, optax.OptState]:
            updates, opt_state = optimizer.update(
                gradients, state.opt_state, state.params
            )
            return optax.apply_updates(state.params, updates), opt_state

        params, opt_state = _update_if(applied, update, (state.params, state.opt_state))
        may_skip = running & (state.skipped < max_skipped)
        failed_step = jnp.where(running & ~may_skip, state.step, state.failed_step)
        after = state._replace(
            params=params,
            opt_state=opt_state,
            loss_state=_select(applied, loss_state, state.loss_state),
            step=jnp.where(applied | may_skip, state.step + 1, state.step),
            skipped=jnp.where(may_skip & ~applied, state.skipped + 1, state.skipped),
            failed_step=jnp.where(applied, state.failed_step, failed_step),
        )
        return after, {"loss": loss, **metrics}

    # The jit caches the trace, which `zero_totals` needs before the first step.
    return jax.jit(step, inline=True)


def step_keys(state: TrainState) -> tuple[Key, Key]:
    """The keys of the next step, for the observations and for the loss."""
    observe_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
    return observe_key, loss_key


def gather(data: Example, chosen: Int[Array, " B"]) -> Batch:
    """The rows of the data set that a step takes."""

    def rows(leaf: Array) -> Array:
        # Flat rows: XLA's CPU backend computes the index of every element of a gather.
        flat = leaf.reshape(len(leaf), -1)
        return flat.at[chosen].get(mode="clip").reshape(-1, *leaf.shape[1:])

    example = jax.tree.map(rows, data)
    return Batch(example, jnp.arange(chosen.shape[0]))


def observe_batch(
    observe: Callable[[Key, Array], Array] | None, key: Key, batch: Batch
) -> Batch:
    """Turn stored examples into observations; `observe` is as for `make_step`.

    Raises:
        VaejaxError: an `observe` that does not take a key and an example.
    """
    if observe is None:
        return batch
    keys = fold_examples(key, batch.global_index)
    try:
        x = jax.vmap(observe)(keys, batch.example.x)
    except (TypeError, ValueError) as error:
        raise VaejaxError(
            "observe fails at a key and an example of shape "
            f"{batch.example.x.shape[1:]}: give a function of both, as "
            "vaejax.data.PROTOCOLS['dynamic'].sample "
            f"({type(error).__name__}: {cut(str(error))})"
        ) from error
    return batch._replace(example=batch.example._replace(x=x))


def _update_if(condition: Array, update: Callable[[], T], kept: T) -> T:
    """`update()` where the condition holds, and `kept` elsewhere.

    On a CPU a branch updates in place what a choice between two results would copy. An
    accelerator would wait for the host at each branch.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.cond(condition, update, lambda: kept)
    return _select(condition, update(), kept)


def _select(condition: Array, a: T, b: T) -> T:
    def pick(p: Array, q: Array) -> Array:
        return p if p is q else jnp.where(condition, p, q)

    return jax.tree.map(pick, a, b)


def _mean_gradient(
    objective: Objective,
    state: TrainState,
    key: Key,
    batch: Batch,
    micro_batch_size: int | None,
) -> tuple[Params, Scalar, tuple[PyTree, Stats]]:
    value_and_grad = jax.value_and_grad(objective.loss, has_aux=True)

    def part_gradient(part: Batch) -> tuple:
        (loss, aux), gradients = value_and_grad(
            state.params, state.loss_state, key, part
        )
        return gradients, loss, aux

    size = batch.global_index.shape[0]
    check_parts(objective, size, micro_batch_size)
    if micro_batch_size is None or micro_batch_size == size:
        return part_gradient(batch)
    num_parts = size // micro_batch_size

    def split(leaf: Array) -> Array:
        # Part j takes every num_parts-th example, so that each device that shares the
        # batch has its share of every part.
        parts = leaf.reshape(micro_batch_size, num_parts, *leaf.shape[1:])
        return parts.swapaxes(0, 1)

    parts = jax.tree.map(split, batch)

    def add(total: tuple, part: Batch) -> tuple[tuple, None]:
        return jax.tree.map(jnp.add, total, part_gradient(part)), None

    first = jax.tree.map(lambda leaf: leaf[0], parts)
    shapes = jax.eval_shape(part_gradient, first)
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, _ = jax.lax.scan(add, zero, parts)
    return jax.tree.map(lambda leaf: leaf / num_parts, total)


def check_parts(
    objective: Objective, batch_size: int | None, micro_batch_size: int | None
) -> None:
    """Refuse a size of micro-batches that the batch cannot be cut into.

    A `batch_size` of None is not known yet.

    Raises:
        VaejaxError: they are not equal, or the objective compares a batch's examples.
    """
    if micro_batch_size is None or micro_batch_size == batch_size:
        return
    if objective.data.whole_batch:
        raise VaejaxError(
            f"micro_batch_size is {micro_batch_size}, and a regularizer of the "
            "objective compares all examples of a batch: leave micro_batch_size out, "
            "or use smaller batches"
        )
    if batch_size is not None and batch_size % micro_batch_size:
        raise VaejaxError(
            f"a batch of {batch_size} examples has no equal parts of "
            f"{micro_batch_size}: use a micro-batch size that divides the batch size"
        )


def default_micro_batch_size(
    batch_size: int,
    num_samples: int,
    max_rows: int = 1000,
    *,
    example_bytes: int = 0,
    max_bytes: int = 2**29,
) -> int:
    """The largest part of the batch whose `num_samples` decodings stay in the cache.

    The decoder takes about 1000 rows at once; larger parts spill, smaller parts make
    the matrix products inefficient. With `example_bytes` (`gradient_bytes` of one
    example) every part fits into `max_bytes`.

    Raises:
        VaejaxError: one example alone does not fit.
    """
    if example_bytes > max_bytes:
        raise VaejaxError(
            f"the {num_samples} samples of one example need about "
            f"{example_bytes / 2**20:,.0f} MiB, and the memory budget is "
            f"{max_bytes / 2**20:,.0f} MiB: raise the budget, or use fewer samples"
        )
    limit = min(max_rows // num_samples, max_bytes // max(1, example_bytes))
    limit = max(1, min(batch_size, limit))
    return max(size for size in range(1, limit + 1) if batch_size % size == 0)


def zero_totals(
    step: Step, state: TrainState, data: Example, indices: Int[Array, "steps B"]
) -> Totals:
    """The totals before the first step: zeros."""

    def first_metrics(state: TrainState, data: Example, indices: Array) -> Stats:
        return step(state, gather(data, indices[0]))[1]

    metrics = jax.eval_shape(first_metrics, state, data, indices)
    return Totals(
        steps=jnp.zeros((), jnp.int32),
        metrics=jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, float), metrics),
    )


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def run_steps(
    step: Step,
    state: TrainState,
    totals: Totals,
    data: Example,
    indices: Int[Array, "steps B"],
    start: Int[Array, ""] | int,
    stop: Int[Array, ""] | int,
) -> tuple[TrainState, Totals]:
    """Take a step for each of the rows `start` to `stop` of `indices`, in one dispatch.

    Args:
        step: from `make_step`.
        state: donated.
        totals: of the epoch's steps before these, or `zero_totals`; donated.
        data: the resident data set, every leaf [N, ...].
        indices: the examples of each step.
        start: the first row to take; no reason to compile anew.
        stop: the row after the last; likewise.

    Returns:
        The state after the steps, and the totals with theirs.
    """

    def body(i: Array, carry: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
        state, totals = carry
        after, metrics = step(state, gather(data, indices[i]))
        applied = (after.step > state.step) & (after.skipped == state.skipped)
        added = Totals(totals.steps + 1, jax.tree.map(jnp.add, totals.metrics, metrics))
        return after, jax.tree.map(partial(jnp.where, applied), added, totals)

    return jax.lax.fori_loop(start, stop, body, (state, totals))
