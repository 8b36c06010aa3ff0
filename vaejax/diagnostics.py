"""How good and how dear a gradient is: bias, variance, signal-to-noise, cost.

The gradient of an objective at fixed parameters on a fixed batch is a random vector
g. From n independent draws of it, against a reference g* (exact, or an unbiased
objective drawn independently), per parameter group:

    bias      ||E g - g*||^2, by a U-statistic, which is unbiased itself: the plug-in
              ||mean g - g*||^2 would be too large by tr Cov(g) / n
    variance  tr Cov(g)
    snr       mean over coordinates of |E g_i| / sd(g_i)  (Rainforth et al. 2018,
              arXiv:1802.04537); where E g_i = 0 it shows its noise floor,
              sqrt(2 / (pi n))
    cosine    of the mean gradient to the reference

The draws are streamed: memory is O(groups of draws x parameters), whatever n.
"""

import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from vaejax.core import Batch, EstState, Key, Objective, Params, PyTree, VaejaxError


class Moments(NamedTuple):
    """Sample moments of n gradient draws; trees of the parameters' structure."""

    mean: Params
    variance: Params  # per coordinate, unbiased
    fold_means: Params  # the draws in equal folds, every leaf [folds, ...]
    draws: int


class GroupReport(NamedTuple):
    """Statistics of one parameter group's gradient."""

    bias: float  # debiased ||E g - g*||^2; below zero by chance where there is none
    bias_stderr: float
    variance: float
    snr: float
    cosine: float


class CostReport(NamedTuple):
    """What one gradient of the batch costs."""

    seconds_per_gradient: float  # median over calls, dispatch included
    flops: float  # XLA's count
    peak_bytes: int  # arguments, results and temporaries of the compiled gradient


def grad_report(
    objective: Objective,
    params: Params,
    state: EstState,
    key: Key,
    batch: Batch,
    *,
    draws: int,
    reference: Params | Moments,
) -> dict[str, GroupReport]:
    """Report on the gradient of `objective.loss` at `params`, by parameter group.

    Args:
        objective: whose gradient is examined.
        params: where.
        state: the estimator's state there.
        key: draw i uses `fold_in(key, i)`.
        batch: the fixed observations.
        draws: n; needs a divisor between 8 and 40, by which the draws are folded.
        reference: the true gradient of the loss, or the `gradient_moments` of an
            unbiased objective, drawn with its own key.

    Raises:
        VaejaxError: `draws` cannot be folded.
    """
    moments = gradient_moments(objective, params, state, key, batch, draws=draws)
    return summarize(moments, reference)


def gradient_moments(
    objective: Objective,
    params: Params,
    state: EstState,
    key: Key,
    batch: Batch,
    *,
    draws: int,
    folds: int | None = None,
    max_chunk: int = 256,
) -> Moments:
    """Draw the gradient `draws` times; its moments, in one streamed pass.

    `folds` divides `draws`; `fold_count(draws)` unless given, so that the folds of a
    reference match. `max_chunk` bounds how many gradients are computed at once.

    Raises:
        VaejaxError: `draws` cannot be folded.
    """
    folds = fold_count(draws) if folds is None else folds
    if folds < 1 or draws < 2 or draws % folds:
        raise VaejaxError(
            f"{draws} draws cannot be split into {folds} equal folds: use a divisor"
        )
    per_fold = draws // folds
    num_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    chunk = _chunk_size(per_fold, num_params, max_chunk)
    mean, square, fold_means = _stream(
        objective, folds, per_fold, chunk, params, state, key, batch
    )
    variance = jax.tree.map(lambda m2: m2 / (draws - 1), square)
    return Moments(mean, variance, fold_means, draws)


def fold_count(draws: int) -> int:
    """The number of equal folds, 8 to 40, that so many draws are split into.

    Raises:
        VaejaxError: there is none.
    """
    for folds in range(min(40, draws), 7, -1):
        if draws % folds == 0:
            return folds
    raise VaejaxError(
        f"{draws} draws cannot be split into 8 to 40 equal folds: use a round number "
        "such as 2000"
    )


def _chunk_size(
    per_fold: int, num_params: int, max_chunk: int, budget: int = 2**24
) -> int:
    """The largest number of simultaneous gradients that divides a fold and fits."""
    limit = max(1, min(max_chunk, budget // num_params))
    return max(c for c in range(1, min(limit, per_fold) + 1) if per_fold % c == 0)


class _Running(NamedTuple):
    """Welford's moments: the count, the mean, the sum of squared deviations."""

    num_draws: jax.Array
    mean: Float[Array, " P"]
    square: Float[Array, " P"]


def _merge(a: _Running, b: _Running) -> _Running:
    """Chan, Golub and LeVeque 1979: the moments of two samples put together."""
    count = a.num_draws + b.num_draws
    delta = b.mean - a.mean
    return _Running(
        count,
        a.mean + delta * (b.num_draws / count),
        a.square + b.square + delta**2 * (a.num_draws * b.num_draws / count),
    )


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _stream(
    objective: Objective,
    folds: int,
    per_fold: int,
    chunk: int,
    params: Params,
    state: EstState,
    key: Key,
    batch: Batch,
) -> tuple[Params, Params, Params]:
    # One vector for all leaves: the moments compile once, not once a leaf.
    flat, unravel = ravel_pytree(params)

    def draw(i: jax.Array) -> Float[Array, " P"]:
        loss_key = jax.random.fold_in(key, i)
        gradient, _ = jax.grad(objective.loss, has_aux=True)(
            params, state, loss_key, batch
        )
        return ravel_pytree(gradient)[0]

    def add_chunk(running: _Running, indices: jax.Array) -> tuple[_Running, None]:
        gradients = jax.vmap(draw)(indices)
        mean = gradients.mean(0)
        square = jnp.square(gradients - mean[None]).sum(0)
        count = jnp.asarray(chunk, jnp.float32)
        return _merge(running, _Running(count, mean, square)), None

    empty = _Running(jnp.zeros(()), jnp.zeros_like(flat), jnp.zeros_like(flat))

    def add_fold(
        total: _Running, indices: jax.Array
    ) -> tuple[_Running, Float[Array, " P"]]:
        fold, _ = jax.lax.scan(add_chunk, empty, indices)
        return _merge(total, fold), fold.mean

    indices = jnp.arange(folds * per_fold).reshape(folds, -1, chunk)
    total, fold_means = jax.lax.scan(add_fold, empty, indices)
    return unravel(total.mean), unravel(total.square), jax.vmap(unravel)(fold_means)


def summarize(moments: Moments, reference: Params | Moments) -> dict[str, GroupReport]:
    """The report of drawn moments against a reference, by parameter group."""
    reports = {}
    for group in Params._fields:
        mean = _flat(getattr(moments.mean, group))
        if mean.size == 0:
            continue
        variance = _flat(getattr(moments.variance, group))
        folds = _flat_folds(getattr(moments.fold_means, group))
        if isinstance(reference, Moments):
            target = _flat(getattr(reference.mean, group))
            theirs = _flat_folds(getattr(reference.fold_means, group))
            pairs = min(len(folds), len(theirs))
            errors = folds[:pairs] - theirs[:pairs]
        else:
            target = _flat(getattr(reference, group))
            errors = folds - target
        bias, bias_stderr = squared_norm_of_mean(errors)
        varies = variance > 0
        noise = np.sqrt(variance[varies])
        norms = np.linalg.norm(mean) * np.linalg.norm(target)
        reports[group] = GroupReport(
            bias=bias,
            bias_stderr=bias_stderr,
            variance=float(variance.sum()),
            snr=float((np.abs(mean[varies]) / noise).mean())
            if varies.any()
            else np.inf,
            cosine=float(mean @ target / norms) if norms > 0 else np.nan,
        )
    return reports


def squared_norm_of_mean(vectors: np.ndarray) -> tuple[float, float]:
    """Unbiased ||E v||^2 from independent v, [n, P], and its standard error.

        U = mean_{i != j} v_i . v_j,
        Var U = (4 (n - 2) zeta_1 + 2 zeta_2) / (n (n - 1)),

    with zeta_1 = Var(v_1 . E v) and zeta_2 = Var(v_1 . v_2), both by U-statistics of
    the same products (Hoeffding 1948). n is at least 4. The error is on the safe side,
    by up to 40%, where E v = 0 and few directions vary: zeta_1, 0 there, is estimated
    at 0 or above.
    """
    n = len(vectors)
    products = vectors @ vectors.T
    np.fill_diagonal(products, 0.0)
    rows, total = products.sum(1), products.sum()
    squares = (products**2).sum()
    estimate = total / (n * (n - 1))
    same_pair = squares / (n * (n - 1))
    one_shared = ((rows**2).sum() - squares) / (n * (n - 1) * (n - 2))
    none_shared = (total**2 - 4 * (rows**2).sum() + 2 * squares) / (
        n * (n - 1) * (n - 2) * (n - 3)
    )
    zeta_1 = max(one_shared - none_shared, 0.0)
    zeta_2 = max(same_pair - none_shared, 0.0)
    variance = (4 * (n - 2) * zeta_1 + 2 * zeta_2) / (n * (n - 1))
    return float(estimate), float(np.sqrt(variance))


def cost_report(
    objective: Objective,
    params: Params,
    state: EstState,
    key: Key,
    batch: Batch,
    *,
    calls: int = 20,
) -> CostReport:
    """Time one compiled gradient of the batch and read XLA's counts of its work."""
    gradient = jax.jit(jax.grad(objective.loss, has_aux=True))
    compiled = gradient.lower(params, state, key, batch).compile()
    seconds = []
    for _ in range(calls + 1):
        start = time.perf_counter()
        jax.block_until_ready(compiled(params, state, key, batch))
        seconds.append(time.perf_counter() - start)
    work, memory = compiled.cost_analysis(), compiled.memory_analysis()
    assert work is not None  # None only on exotic backends
    assert memory is not None
    return CostReport(
        seconds_per_gradient=float(np.median(seconds[1:])),  # the first warms up
        flops=float(work.get("flops", np.nan)),
        peak_bytes=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes,
    )


def _flat(tree: PyTree) -> np.ndarray:
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([np.zeros(0), *leaves])


def _flat_folds(tree: PyTree) -> np.ndarray:
    leaves = jax.tree.leaves(tree)
    return np.concatenate([np.reshape(f, (len(f), -1)) for f in leaves], 1, dtype=float)
