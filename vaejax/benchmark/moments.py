"""Streamed moments of a gradient: only running sums of the draws are kept.

The gradient of an objective at fixed parameters is a random vector. Its draws are made
in equal folds, so that every statistic of them has a standard error by leaving one fold
out at a time. Memory is O(folds x parameters), whatever the number of draws, plus a few
numbers per draw.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.benchmark.tails import tail_of_group
from vaejax.core import Batch, Key, Objective, Params, PyTree, VaejaxError
from vaejax.core.doors import expect_count, expect_counts

# The most numbers in the draws of a chunk together: more would leave the cache.
CHUNK_NUMBERS = 2**19
# Results (see `work_of`) below which XLA's passes take longer than the draws that they
# speed up: on one core, 0.7 s for 40 ns a result at LITTLE_WORK, and 2 s for 3 ns a
# result at MUCH_WORK.
LITTLE_WORK = 2**24
MUCH_WORK = 2**29


class Moments(NamedTuple):
    """Sample moments of n gradient draws; trees of the parameters' structure."""

    mean: Params
    variance: Params  # per coordinate, unbiased
    fold_means: Params  # means of equal folds of draws, leaves [folds, ...]
    fold_squares: Params  # squared deviations from a fold's mean, summed; likewise
    draws: int
    # By group and by array, as in `groups`, in falling order: the largest ||g - E g||^2
    # of all draws, and the largest of their max_i (g_i - E g_i)^2.
    tails: dict[str, Float[np.ndarray, "2 M_plus_1"]]
    # Where a reference is given, leaf by leaf and draw by draw, [n]: the product with
    # the reference, and the squared norm.
    products: Params | None = None
    squared_norms: Params | None = None


def gradient_moments(
    objective: Objective,
    params: Params,
    state: PyTree,
    key: Key,
    batch: Batch,
    *,
    draws: int,
    folds: int | None = None,
    batch_size: int | None = None,
    reference: Params | None = None,
    max_chunk: int = 256,
    work: float = np.inf,
) -> Moments:
    """Draw the gradient `draws` times and return its moments, in one streamed pass.

    Args:
        objective: whose gradient of `loss` is drawn.
        params: where.
        state: the estimator's state there.
        key: draw i uses `fold_in(key, i)`.
        batch: the observations.
        draws: n.
        folds: a divisor of n; `fold_count(n)` unless given, so that the folds of a
            reference match.
        batch_size: take so many of the observations, drawn anew with replacement, for
            every gradient; by default all of them, always.
        reference: a gradient that every draw is held against.
        max_chunk: how many gradients are computed at once, at most.
        work: results that all draws take, roughly: XLA spends less time on optimizing
            a program of little work.

    Raises:
        VaejaxError: `draws` cannot be folded, or `batch_size` is below 1.
    """
    plan = make_plan(params, draws, folds, batch_size, max_chunk, work)
    batch = batch._replace(example=objective.data.check(batch.example))
    fixed = params, state, key, batch
    (moments,), deviations, along = stream(objective, plan, False, *fixed, reference)
    products, squared_norms = (None, None) if along is None else along
    tails = {
        name: tail_of_group(of_leaves.reshape(draws, -1, 2))
        for per_layer in (False, True)
        for name, of_leaves in groups(deviations, per_layer, 1).items()
    }
    return Moments(
        **moments,
        draws=draws,
        tails=tails,
        products=products,
        squared_norms=squared_norms,
    )


def groups(
    tree: Params | None, per_layer: bool = False, lead: int = 0
) -> dict[str, np.ndarray]:
    """The parameters of every group side by side, in float64; empty groups left out.

    A group is a field of `Params`, or with `per_layer` an array of parameters, named as
    in decoder/layers/0/kernel. The first `lead` axes of the leaves are kept.
    """
    found: dict[str, list[np.ndarray]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        names = jax.tree_util.keystr(path, simple=True, separator="/")
        name = names if per_layer else names.partition("/")[0]
        array = np.asarray(leaf, float)
        found.setdefault(name, []).append(array.reshape(*array.shape[:lead], -1))
    return {name: np.concatenate(parts, -1) for name, parts in found.items()}


def fold_count(draws: int, least: int = 1) -> int:
    """The number of equal folds, 8 to 40, that `draws` draws are split into.

    Args:
        draws: n.
        least: draws that a fold needs.

    Raises:
        VaejaxError: there is none.
    """
    expect_count("draws", draws)
    for folds in range(min(40, draws // least), 7, -1):
        if draws % folds == 0:
            return folds
    more = f" of {least} draws or more" * (least > 1)
    raise VaejaxError(
        f"{draws} draws cannot be split into 8 to 40 equal folds{more}: use a round "
        f"number such as 2000, of at least {8 * least}"
    )


class Plan(NamedTuple):
    """The settings of a stream of draws."""

    folds: int
    per_fold: int
    chunk: int  # draws at a time
    batch_size: int | None
    work: float  # rough number of results


def make_plan(
    params: Params,
    draws: int,
    folds: int | None,
    batch_size: int | None,
    max_chunk: int = 256,
    work: float = np.inf,
) -> Plan:
    """Check the numbers of draws and folds, and choose the chunk.

    Raises:
        VaejaxError: as for `gradient_moments`.
    """
    expect_counts(draws=draws, folds=folds, batch_size=batch_size)
    folds = fold_count(draws) if folds is None else folds
    if draws < 2 or draws % folds:
        raise VaejaxError(
            f"{draws} draws cannot be split into {folds} equal folds: use a divisor "
            "of the draws"
        )
    num_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    per_fold = draws // folds
    chunk = _chunk_size(per_fold, num_params, max_chunk)
    return Plan(folds, per_fold, chunk, batch_size, work)


def _chunk_size(
    per_fold: int, num_params: int, max_chunk: int, budget: int = CHUNK_NUMBERS
) -> int:
    """The largest number of simultaneous gradients that divides a fold and fits."""
    limit = max(1, min(max_chunk, budget // num_params))
    return max(c for c in range(1, min(limit, per_fold) + 1) if per_fold % c == 0)


class _Running(NamedTuple):
    """Welford's moments: the count, the mean, the sum of squared deviations."""

    num_draws: jax.Array
    mean: list[Params]
    square: list[Params]


def _moments_of_chunk(vectors: list[Params], count: int) -> _Running:
    """The moments of a chunk's draws, leaves [chunk, ...]."""

    def total(leaf: Array) -> Array:
        # As a product: on a CPU, XLA's sum over a first axis takes 20 times as long.
        return jnp.tensordot(jnp.ones(count, leaf.dtype), leaf, 1, precision="highest")

    def square(leaf: Array, mean: Array) -> Array:
        return total(jnp.square(leaf - mean[None]))

    mean = jax.tree.map(lambda leaf: total(leaf) / count, vectors)
    return _Running(
        jnp.asarray(count, float), mean, jax.tree.map(square, vectors, mean)
    )


def _merge(a: _Running, b: _Running) -> _Running:
    """Chan, Golub and LeVeque 1979: the moments of two samples put together."""
    count = jnp.maximum(a.num_draws + b.num_draws, 1)  # 1 where both are empty
    share = b.num_draws / count

    def mean(one: Array, other: Array) -> Array:
        return one + (other - one) * share

    def square(one: Array, other: Array, *means: Array) -> Array:
        return one + other + jnp.square(means[1] - means[0]) * (a.num_draws * share)

    return _Running(
        count,
        jax.tree.map(mean, a.mean, b.mean),
        jax.tree.map(square, a.square, b.square, a.mean, b.mean),
    )


@cache
def _compiled(optimize: int | None) -> Callable[..., Any]:
    """`_stream` compiled at this optimization level, None for XLA's own."""
    options: dict[str, Any] = {}
    if optimize is not None:
        options["xla_backend_optimization_level"] = optimize
        if jax.__version__.startswith("0.10."):  # other versions may refuse these
            options["xla_cpu_use_fusion_emitters"] = False
            options["xla_cpu_parallel_codegen_split_count"] = 1
    return jax.jit(_stream, static_argnums=(0, 1, 2), compiler_options=options)


def stream(
    objective: Objective, plan: Plan, *at: Any
) -> tuple[list[dict[str, Params]], Params | None, tuple[Params, Params] | None]:
    """Moments of the gradient; or, paired, of two gradients' mean and half difference.

    The gradients of a pair share their observations. Beside the moments are returned
    the squared deviations of all draws, unless paired, and the products with the
    reference and the squared norms, if a reference is given.
    """
    level = None
    if jax.default_backend() == "cpu" and plan.work < MUCH_WORK:
        level = int(plan.work >= LITTLE_WORK)
    return _compiled(level)(objective, plan._replace(work=0), *at)


def _stream(
    objective: Objective,
    plan: Plan,
    paired: bool,
    params: Params,
    state: PyTree,
    key: Key,
    batch: Batch,
    reference: Params | None = None,
) -> tuple[list[dict[str, Params]], Params | None, tuple[Params, Params] | None]:
    rows_key, loss_keys = (key, key) if plan.batch_size is None else _split(key)

    def gradient(loss_key: Key, batch: Batch) -> Params:
        return jax.grad(objective.loss, has_aux=True)(params, state, loss_key, batch)[0]

    def observations(i: jax.Array) -> Batch:
        if plan.batch_size is None:
            return batch
        size, count = plan.batch_size, len(batch.global_index)
        rows = jax.random.randint(jax.random.fold_in(rows_key, i), (size,), 0, count)
        chosen = jax.tree.map(lambda leaf: leaf[rows], batch.example)
        return Batch(chosen, jnp.arange(size))

    def draw(i: jax.Array) -> tuple[list[Params], tuple | None]:
        loss_key, seen = jax.random.fold_in(loss_keys, i), observations(i)
        if paired:
            pair = [gradient(half, seen) for half in _split(loss_key)]
            mean = jax.tree.map(lambda one, other: (one + other) / 2, *pair)
            half_difference = jax.tree.map(lambda one, other: (one - other) / 2, *pair)
            return [mean, half_difference], None
        found = gradient(loss_key, seen)
        along = None
        if reference is not None:
            along = (
                jax.tree.map(jnp.vdot, found, reference),
                jax.tree.map(jnp.vdot, found, found),
            )
        return [found], along

    def draw_chunk(indices: jax.Array) -> tuple[list[Params], tuple | None]:
        if plan.chunk == 1:  # an axis of 1 makes XLA's sums in a gradient slow
            return jax.tree.map(lambda leaf: leaf[None], draw(indices[0]))
        return jax.vmap(draw)(indices)

    def deviation(drawn: Array, centre: Array) -> Float[Array, "chunk 2"]:
        squares = jnp.square(drawn - centre[None]).reshape(plan.chunk, -1)
        return jnp.stack([squares.sum(1), squares.max(1)], 1)

    def add_chunk(
        running: _Running, indices: jax.Array, total: _Running
    ) -> tuple[_Running, tuple[Params | None, tuple | None]]:
        vectors, along = draw_chunk(indices)
        chunk = _moments_of_chunk(vectors, plan.chunk)
        before = _merge(total, running)
        is_known = before.num_draws > 0
        centre = jax.tree.map(partial(jnp.where, is_known), before.mean, chunk.mean)
        far = None if paired else jax.tree.map(deviation, vectors[0], centre[0])
        return _merge(running, chunk), (far, along)

    nothing = [jax.tree.map(jnp.zeros_like, params)] * (1 + paired)
    empty = _Running(jnp.zeros(()), nothing, nothing)

    def add_fold(total: _Running, indices: jax.Array) -> tuple[_Running, tuple]:
        fold, of_draws = jax.lax.scan(partial(add_chunk, total=total), empty, indices)
        return _merge(total, fold), (fold.mean, fold.square, of_draws)

    draws = plan.folds * plan.per_fold
    indices = jnp.arange(draws).reshape(plan.folds, -1, plan.chunk)
    total, (means, squares, of_draws) = jax.lax.scan(add_fold, empty, indices)
    moments = [
        {
            "mean": mean,
            "variance": jax.tree.map(lambda leaf: leaf / (draws - 1), square),
            "fold_means": fold_means,
            "fold_squares": fold_squares,
        }
        for mean, square, fold_means, fold_squares in zip(
            total.mean, total.square, means, squares, strict=True
        )
    ]
    far, along = of_draws
    far = jax.tree.map(lambda leaf: leaf.reshape(draws, 2), far)
    return moments, far, jax.tree.map(lambda leaf: leaf.reshape(draws), along)


def _split(key: Key) -> tuple[Key, Key]:
    first, second = jax.random.split(key)
    return first, second
