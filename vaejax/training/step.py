"""One update, and many updates in one dispatch.

The data stay on the device as they are stored (uint8); a step gathers its examples,
turns them into observations (drawing a binarization, say), and updates. An epoch is one
`lax.scan` over steps, jitted and donated: no Python between steps.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from vaejax.core import (
    Batch,
    EstState,
    Example,
    Key,
    Objective,
    Params,
    Scalar,
    Stats,
    VaejaxError,
    fold_examples,
)
from vaejax.training.state import TrainState

Step = Callable[[TrainState, Batch], tuple[TrainState, Stats]]


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    observe: Callable[[Key, Array], Array] | None = None,
    micro_batch_size: int | None = None,
) -> Step:
    """Build `step(state, batch) -> (state, metrics)`.

    A step whose loss or gradient is not finite is not applied: parameters, optimizer
    and counters stay, `failed_step` names it, and every later step leaves the state
    alone too, so that the last good state survives until the host looks.

    Args:
        objective: what to minimise.
        optimizer: an optax chain; it may expect the parameters.
        observe: turns a stored example into the observation of this step, per example.
        micro_batch_size: examples per gradient; the gradients of a batch's equal parts
            are averaged, which is exact for objectives that are means over examples. A
            divisor of the batch size. None takes the batch whole.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Stats]:
        observe_key, loss_key = jax.random.split(
            jax.random.fold_in(state.key, state.step)
        )
        if observe is not None:
            x = jax.vmap(observe)(
                fold_examples(observe_key, batch.global_index), batch.example.x
            )
            batch = batch._replace(example=batch.example._replace(x=x))
        gradients, loss, (est_state, metrics) = _mean_gradient(
            objective, state, loss_key, batch, micro_batch_size
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        running = state.failed_step < 0
        finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradients))
        proposed = TrainState(
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            est_state=est_state,
            key=state.key,
            step=state.step + 1,
            failed_step=state.failed_step,
        )
        failed = jnp.where(running & ~finite, state.step, state.failed_step)
        kept = state._replace(failed_step=failed)
        good = running & finite
        return _select(good, proposed, kept), {"loss": loss, **metrics}

    return step


def _select(condition: Array, a: TrainState, b: TrainState) -> TrainState:
    def pick(p: Array, q: Array) -> Array:
        return p if p is q else jnp.where(condition, p, q)

    return jax.tree.map(pick, a, b)


def _mean_gradient(
    objective: Objective,
    state: TrainState,
    key: Key,
    batch: Batch,
    micro_batch_size: int | None,
) -> tuple[Params, Scalar, tuple[EstState, Stats]]:
    value_and_grad = jax.value_and_grad(objective.loss, has_aux=True)

    def part_gradient(part: Batch) -> tuple:
        (loss, aux), gradients = value_and_grad(
            state.params, state.est_state, key, part
        )
        return gradients, loss, aux

    size = batch.global_index.shape[0]
    if micro_batch_size is None or micro_batch_size == size:
        return part_gradient(batch)
    if size % micro_batch_size:
        raise VaejaxError(
            f"a batch of {size} examples has no equal parts of {micro_batch_size}: use "
            "a micro-batch size that divides the batch size"
        )
    num_parts = size // micro_batch_size
    parts = jax.tree.map(
        lambda leaf: leaf.reshape(num_parts, micro_batch_size, *leaf.shape[1:]), batch
    )

    def add(total: tuple, part: Batch) -> tuple[tuple, None]:
        return jax.tree.map(jnp.add, total, part_gradient(part)), None

    first = jax.tree.map(lambda leaf: leaf[0], parts)
    rest = jax.tree.map(lambda leaf: leaf[1:], parts)
    total, _ = jax.lax.scan(add, part_gradient(first), rest)
    return jax.tree.map(lambda leaf: leaf / num_parts, total)


def default_micro_batch_size(
    batch_size: int,
    num_samples: int,
    max_rows: int = 1000,
    *,
    example_bytes: int = 0,
    max_bytes: int = 2**29,
) -> int:
    """The largest part of the batch whose `num_samples` decodings stay in the cache.

    About 1000 rows through the decoder at once; larger parts spill, smaller ones starve
    the matrix products. Where `example_bytes` (`vaejax.training.memory`) are given, all
    parts fit into `max_bytes`.

    Raises:
        VaejaxError: one example alone does not fit.
    """
    if example_bytes > max_bytes:
        raise VaejaxError(
            f"the {num_samples} samples of one example need about "
            f"{example_bytes / 2**20:,.0f} MiB, and the memory budget is "
            f"{max_bytes / 2**20:,.0f} MiB: raise it, or use fewer samples"
        )
    limit = min(max_rows // num_samples, max_bytes // max(1, example_bytes))
    limit = max(1, min(batch_size, limit))
    return max(size for size in range(1, limit + 1) if batch_size % size == 0)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def run_epoch(
    step: Step, state: TrainState, data: Example, indices: Int[Array, "steps B"]
) -> tuple[TrainState, Stats]:
    """Take one step per row of `indices`, all in one dispatch.

    Args:
        step: from `make_step`.
        state: donated.
        data: the resident data set, every leaf [N, ...].
        indices: the examples of each step.

    Returns:
        The state after the steps, and the metrics' means over them.
    """

    def body(state: TrainState, chosen: Int[Array, " B"]) -> tuple[TrainState, Stats]:
        example = jax.tree.map(lambda leaf: leaf[chosen], data)
        return step(state, Batch(example, jnp.arange(chosen.shape[0])))

    state, metrics = jax.lax.scan(body, state, indices)
    return state, jax.tree.map(jnp.mean, metrics)
