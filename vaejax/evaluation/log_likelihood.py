"""The log-likelihood log p(x) by importance sampling, and its error estimates.

    log p(x) ~ log 1/S sum_s w_s,   w_s = p(x, z_s) / q(z_s | x),   z_s ~ q(z | x)

a lower bound in expectation that tightens with S (Burda et al. 2016, arXiv:1509.00519).
The samples are drawn in chunks, each from a key folded from its own number: memory is
O(chunk), and the result does not depend on the chunk.

Every device takes a share of the examples; where examples are fewer than devices, also
a share of the samples, whose sums are added over devices at the end.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from vaejax.core import (
    Example,
    Key,
    Model,
    Params,
    Scalar,
    VaejaxError,
    check_data,
    count_of,
    fold_examples,
    plain,
)
from vaejax.core.build import answered
from vaejax.core.doors import expect, expect_counts, expect_key, expect_params
from vaejax.evaluation.psis import pareto_shapes, tail_size
from vaejax.sharding import DATA, SAMPLES, evaluation_mesh, put
from vaejax.terms import weigh_own_samples

EXAMPLES_PER_CALL = 100  # examples per device

T = TypeVar("T")


class LogLikelihood(NamedTuple):
    """Estimates per example, in nats; `summary` gives those of the data set."""

    log_px: Float[np.ndarray, " N"]
    monte_carlo_error: Float[np.ndarray, " N"]  # delta method: sd(w) / (mean(w) sqrt S)
    effective_sample_size: Float[np.ndarray, " N"]  # (sum w)^2 / sum w^2, 1 to S
    pareto_k: Float[np.ndarray, " N"]  # above 0.7 the error estimate is unreliable
    elbo: Float[np.ndarray, " N"]  # the mean of the same samples' log-weights
    elbo_error: Float[np.ndarray, " N"]  # the standard error of `elbo`
    num_samples: int

    def __repr__(self) -> str:
        """The number of examples and samples, and the mean with its error."""
        mean, errors = np.mean(self.log_px, dtype=float), self.monte_carlo_error
        error = np.sqrt(np.sum(errors.astype(float) ** 2)) / len(errors)
        return (
            f"LogLikelihood({len(errors):,} examples, S = {self.num_samples:,}, "
            f"mean log p(x) {mean:.6g} +- {error:.2g})"
        )

    def summary(self) -> dict[str, float | int | None]:
        """The mean log-likelihood and ELBO, their errors and the weights' health.

        `monte_carlo_error` is the standard error of the mean; `expected_shortfall` is
        how far the estimate lies below log p(x) on average (delta method: half the
        squared error of each example). An error is None for a single
        sample, and so is Pareto k where S is too small.

        The delta method misses an error that no sample shows: where many k are above
        0.7, the estimate lies lower, and is less certain, than reported.

        Raises:
            VaejaxError: naming the examples whose log-likelihood is NaN.
        """
        count = len(self.log_px)
        if len(rows := np.flatnonzero(np.isnan(self.log_px))):
            raise VaejaxError(
                f"log p(x) is NaN for {count_of(rows, count)}: look for parameters "
                "that are not finite, or leave these examples out"
            )
        squared_errors = np.sum(self.monte_carlo_error.astype(float) ** 2)
        return {
            "log_likelihood": float(np.mean(self.log_px, dtype=float)),
            "monte_carlo_error": _known(np.sqrt(squared_errors) / count),
            "expected_shortfall": _known(squared_errors / (2 * count)),
            "elbo": float(np.mean(self.elbo, dtype=float)),
            "elbo_error": _known(
                np.sqrt(np.sum(self.elbo_error.astype(float) ** 2)) / count
            ),
            "num_samples": self.num_samples,
            "num_examples": count,
            "effective_sample_size": float(np.mean(self.effective_sample_size)),
            "pareto_k_above_0.7": (
                None
                if tail_size(self.num_samples) < 5
                else float(np.mean(~(self.pareto_k <= 0.7)))
            ),
        }


def _known(figure: float) -> float | None:
    return None if np.isnan(figure) else float(figure)


@answered
def log_likelihood(
    model: Model,
    params: Params,
    examples: Example,
    key: Key,
    *,
    num_samples: int = 5000,
    chunk_size: int = 1000,
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int], None] | None = None,
) -> LogLikelihood:
    """Estimate log p(x) of every example with exactly `num_samples` samples.

    Every process calls this function with the same values, and gets the result.

    Args:
        model: the model, its encoder the proposal.
        params: its parameters.
        examples: every leaf [N, ...], as the model sees it.
        key: consumed; example n, sample s uses `fold_in(fold_in(key, n), s)`.
        num_samples: S.
        chunk_size: samples that a device decodes at once, at most.
        devices: that divide the examples (default: all, of every process).
        progress: called with the number of examples done so far.

    Raises:
        VaejaxError: `num_samples` or `chunk_size` below 1, no examples, or a posterior
            without a density; what `check_data` refuses.

    Examples:
        >>> model = gaussian_toy((2,))
        >>> x, key = jnp.zeros((3, 2)), jax.random.key(0)
        >>> params = model.init(key)
        >>> estimate = log_likelihood(model, params, Example(x), key, num_samples=500)
        >>> estimate.log_px.shape, estimate.summary()["num_samples"]
        ((3,), 500)
    """
    expect_params(params, expect(Model, "model", model))
    expect_key(key)
    if not model.posterior.has_density:
        raise VaejaxError(
            f"the posterior of {model.name}, a {model.posterior.name}, has no density, "
            "and log p(x) no importance weights: use evaluation.reconstruction, or a "
            "posterior such as diagonal_normal"
        )
    expect_counts(num_samples=num_samples, chunk_size=chunk_size)
    examples = check_data(model, examples)
    count = len(examples.x)
    mesh = evaluation_mesh(count, devices)
    shares = mesh.shape[DATA]
    calls = -(-count // (shares * EXAMPLES_PER_CALL))
    size = shares * -(-count // (shares * calls))  # equal calls need the least padding
    params, key = put((params, key), mesh)
    results = []
    for start in range(0, count, size):
        numbers = np.arange(start, start + size)
        rows = np.minimum(numbers, count - 1)  # the last call is padded, then cut
        chosen = jax.tree.map(operator.itemgetter(rows), examples)
        shared = put((numbers, chosen), mesh, DATA)
        found = _estimate(model, num_samples, chunk_size, mesh, params, key, *shared)
        results.append(found)
        if progress is not None:
            jax.block_until_ready(found)
            progress(min(start + size, count))
    log_px, error, ess, elbo, elbo_error, tails = (
        np.concatenate(column)[:count] for column in zip(*results, strict=True)
    )
    # Fit in parts: the fits of all examples at once would be large.
    parts = np.split(tails, range(EXAMPLES_PER_CALL, count, EXAMPLES_PER_CALL))
    pareto_k = np.concatenate(list(map(pareto_shapes, parts)))
    return LogLikelihood(log_px, error, ess, pareto_k, elbo, elbo_error, num_samples)


def effective_sample_size(log_w: Float[Array, " K"]) -> Scalar:
    """(sum w)^2 / sum w^2 of importance weights, from 1 to K.

    The formula is K / (1 + var w / (mean w)^2), which no rounding lifts above K.
    """
    drop = log_w - log_w.max()
    relative = jnp.expm1(drop).var() / jnp.square(jnp.exp(drop).mean())
    return _effective(log_w.size, relative)


def _effective(num_samples: int, relative: Array) -> Array:
    """The effective sample size by the variance of w / mean w, kept at 1 or above."""
    return jnp.maximum(num_samples / (1 + relative), 1)


class _Moments(NamedTuple):
    """Per group: the count, the mean and the sum of squared deviations from the mean.

    Groups are pooled (Chan, Golub and LeVeque 1983) without the difference of a mean
    square and a squared mean, in which numbers that nearly agree lose their digits.
    """

    size: Float[Array, " G"]
    mean: Float[Array, " G"]
    squares: Float[Array, " G"]

    def pool(self) -> "_Moments":
        """Pool the moments of all groups."""
        size = self.size.sum(keepdims=True)
        mean = (self.size * self.mean).sum() / jnp.maximum(size, 1)
        squares = self.squares + self.size * jnp.square(self.mean - mean)
        return _Moments(size, mean, squares.sum(keepdims=True))


class _Weights(NamedTuple):
    """Per group: the largest log w, and the moments of w / e^peak - 1."""

    peak: Float[Array, " G"]
    moments: _Moments

    def pool(self) -> "_Weights":
        """Pool the weights of all groups, relative to the largest peak."""
        peak = self.peak.max(keepdims=True)
        # The peak of weights that are all 0 is -inf.
        drop = self.peak - jnp.where(peak == -jnp.inf, 0, peak)
        size, mean, squares = self.moments
        mean = jnp.exp(drop) * mean + jnp.expm1(drop)
        return _Weights(peak, _Moments(size, mean, jnp.exp(2 * drop) * squares).pool())


class _Running(NamedTuple):
    """The sums over the samples so far, in one group."""

    log_sum: Float[Array, " G"]  # log sum w
    weights: _Weights
    log_weights: _Moments  # moments of log w - shift
    shift: Float[Array, " G"]  # log w of the first sample
    tail: Float[Array, " tail"]  # the largest log-weights


def _join(a: T, b: T) -> T:
    """Join the groups of `a` and `b`."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), a, b)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _estimate(
    model: Model,
    num_samples: int,
    chunk_size: int,
    mesh: Mesh,
    params: Params,
    key: Key,
    numbers: Int[Array, " B"],
    examples: Example,
) -> tuple[Array, ...]:
    """Per example: log p(x), error, sample size, ELBO, error, largest log-weights."""
    size = tail_size(num_samples)
    share = -(-num_samples // mesh.shape[SAMPLES])  # samples of a device
    num_chunks = -(-share // chunk_size)
    chunk_size = -(-share // num_chunks)  # equal chunks leave the least over

    def one(params: Params, key: Key, example: Example) -> _Running:
        """The sums over this device's samples of one example."""
        dist_params = model.encode(params, example)
        first = jax.lax.axis_index(SAMPLES) * num_chunks * chunk_size

        def log_weights(index: Array) -> Array:
            keys = fold_examples(key, index)
            return plain(weigh_own_samples(model, params, dist_params, keys, example))

        def add_chunk(running: _Running, start: Array) -> tuple[_Running, None]:
            index = start + jnp.arange(chunk_size)
            valid, log_w = index < num_samples, log_weights(index)
            deviation = jnp.where(valid, log_w - running.shift, 0)
            log_w = jnp.where(valid, log_w, -jnp.inf)
            count, zero = valid.astype(log_w.dtype), jnp.zeros_like(log_w)
            weights = _Weights(log_w, _Moments(count, zero, zero))
            deviations = _Moments(count, deviation, zero)
            return _Running(
                jnp.logaddexp(running.log_sum, logsumexp(log_w)),
                _join(running.weights, weights).pool(),
                _join(running.log_weights, deviations).pool(),
                running.shift,
                jax.lax.top_k(_join(running.tail, log_w), size + 1)[0],
            ), None

        shift = log_weights(jnp.zeros(1, int))  # the same on every device
        nothing, zero = jnp.full_like(shift, -jnp.inf), jnp.zeros_like(shift)
        none = _Moments(zero, zero, zero)
        empty = _Running(
            log_sum=nothing,
            weights=_Weights(shift, none),
            log_weights=none,
            shift=shift,
            tail=jnp.repeat(nothing, size + 1),
        )
        starts = first + jnp.arange(num_chunks) * chunk_size
        return jax.lax.scan(add_chunk, empty, starts)[0]

    def shares(params: Params, key: Key, numbers: Array, examples: Example) -> _Running:
        """The sums over this device's samples, for each of its examples."""
        keys = fold_examples(key, numbers)
        return jax.lax.map(lambda pair: one(params, *pair), (keys, examples))

    everywhere, rows = PartitionSpec(), PartitionSpec(DATA)
    running = jax.shard_map(
        shares,
        mesh=mesh,
        in_specs=(everywhere, everywhere, rows, rows),
        out_specs=PartitionSpec(DATA, SAMPLES),
        check_vma=False,  # else every model's loops would have to vary over devices
    )(params, key, numbers, examples)
    # Copy these small arrays to every device, and so to every process.
    running = jax.lax.with_sharding_constraint(running, NamedSharding(mesh, everywhere))
    log_px = logsumexp(running.log_sum, axis=1) - jnp.log(num_samples)
    peak, (_, _, squares) = jax.vmap(_Weights.pool)(running.weights)
    # The variance of w / mean w, with a divisor of S.
    relative = (squares / num_samples)[:, 0] * jnp.exp(2 * (peak[:, 0] - log_px))
    ess = _effective(num_samples, relative)
    others = num_samples - 1 if num_samples > 1 else jnp.nan
    error = jnp.sqrt(relative / others)
    _, mean, squares = jax.vmap(_Moments.pool)(running.log_weights)
    elbo = (running.shift[:, :1] + mean)[:, 0]
    elbo_error = jnp.sqrt(squares[:, 0] / num_samples / others)
    tail = jax.lax.top_k(running.tail, size + 1)[0]
    return log_px, error, ess, elbo, elbo_error, tail
