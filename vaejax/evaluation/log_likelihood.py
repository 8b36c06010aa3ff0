"""The log-likelihood log p(x) by importance sampling, and what is known of its error.

    log p(x) ~ log 1/S sum_s w_s,   w_s = p(x, z_s) / q(z_s | x),   z_s ~ q(z | x)

a lower bound in expectation that tightens with S (Burda et al. 2016, arXiv:1509.00519).
The samples are drawn in chunks, each from a key folded from its own number: memory is
O(chunk), and the result does not depend on the chunk.

Every device takes its share of the examples; where they are fewer than the devices, of
the samples too, whose sums are added over devices at the end.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

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
    VaejaxError,
    check_data,
    count_of,
    fold_examples,
    plain,
)
from vaejax.evaluation.psis import pareto_shapes, tail_size
from vaejax.sharding import DATA, SAMPLES, evaluation_mesh, put
from vaejax.terms import weigh_own_samples

EXAMPLES_PER_CALL = 100  # on every device


class LogLikelihood(NamedTuple):
    """Per example, in nats; `summary` gives the figures of the data set."""

    log_px: Float[np.ndarray, " N"]
    monte_carlo_error: Float[np.ndarray, " N"]  # delta method: sd(w) / (mean(w) sqrt S)
    effective_sample_size: Float[np.ndarray, " N"]  # (sum w)^2 / sum w^2, 1 to S
    pareto_k: Float[
        np.ndarray, " N"
    ]  # above 0.7 the error estimate is not to be trusted
    elbo: Float[np.ndarray, " N"]  # the mean of the same samples' log-weights
    elbo_error: Float[np.ndarray, " N"]  # its standard error
    num_samples: int

    def summary(self) -> dict[str, float | int | None]:
        """The mean log-likelihood and ELBO, their errors and the weights' health.

        `monte_carlo_error` is the standard error of the mean; `expected_shortfall` is
        how far the estimate lies below log p(x) on average (delta method: half the
        squared error of each example). An error is None where a single sample tells
        nothing of it, and so is Pareto k where S is too small.

        The delta method knows of no error that no sample shows: where many k are above
        0.7, the estimate lies lower, and is less certain, than it says.

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

    Across processes every one calls it, with the same values, and has the result.

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
    """
    if not model.posterior.has_density:
        raise VaejaxError(
            f"the posterior of {model.name}, a {model.posterior.name}, has no density, "
            "and log p(x) no importance weights: use evaluation.reconstruction, or a "
            "posterior such as diagonal_normal"
        )
    count = len(jax.tree.leaves(examples)[0])
    if min(num_samples, chunk_size, count) < 1:
        raise VaejaxError(
            f"cannot estimate log p(x) of {count} examples with {num_samples} samples "
            f"in chunks of {chunk_size}: all three must be at least 1"
        )
    examples = check_data(model, examples)
    mesh = evaluation_mesh(count, devices)
    shares = mesh.shape[DATA]
    calls = -(-count // (shares * EXAMPLES_PER_CALL))
    size = shares * -(-count // (shares * calls))  # equal calls: the least filled up
    params, key = put((params, key), mesh)
    results = []
    for start in range(0, count, size):
        numbers = np.arange(start, start + size)
        rows = np.minimum(numbers, count - 1)  # the last call is filled up, then cut
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
    # Some at a time, as all examples' fits at once would be large.
    parts = np.split(tails, range(EXAMPLES_PER_CALL, count, EXAMPLES_PER_CALL))
    pareto_k = np.concatenate(list(map(pareto_shapes, parts)))
    return LogLikelihood(log_px, error, ess, pareto_k, elbo, elbo_error, num_samples)


class _Running(NamedTuple):
    log_sum: Array  # log sum w
    log_square_sum: Array  # log sum w^2
    shift: Array  # log w of the first sample, whose deviations are summed:
    total: Array
    squares: Array
    tail: Array  # the largest log-weights so far


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
    """Of each example: log p(x), its error, effective sample size, largest weights."""
    size = tail_size(num_samples)
    share = -(-num_samples // mesh.shape[SAMPLES])  # of a device
    num_chunks = -(-share // chunk_size)
    chunk_size = -(-share // num_chunks)  # equal chunks: the least left over

    def one(params: Params, key: Key, example: Example) -> _Running:
        """What this device's samples sum up to."""
        dist_params = model.encode(params, example)
        first = jax.lax.axis_index(SAMPLES) * num_chunks * chunk_size

        def log_weights(index: Array) -> Array:
            keys = fold_examples(key, index)
            return plain(weigh_own_samples(model, params, dist_params, keys, example))

        def add_chunk(running: _Running, start: Array) -> tuple[_Running, None]:
            index = start + jnp.arange(chunk_size)
            log_w = log_weights(index)
            deviation = jnp.where(index < num_samples, log_w - running.shift, 0)
            log_w = jnp.where(index < num_samples, log_w, -jnp.inf)
            tail = jnp.concatenate([running.tail, log_w])
            return _Running(
                jnp.logaddexp(running.log_sum, logsumexp(log_w)),
                jnp.logaddexp(running.log_square_sum, logsumexp(2 * log_w)),
                running.shift,
                running.total + deviation.sum(),
                running.squares + jnp.square(deviation).sum(),
                jax.lax.top_k(tail, size + 1)[0],
            ), None

        nothing, zero = jnp.full((), -jnp.inf), jnp.zeros(())
        shift = log_weights(jnp.zeros(1, int))[0]  # the same on every device
        tail = jnp.full(size + 1, -jnp.inf)
        empty = _Running(nothing, nothing, shift, zero, zero, tail)
        starts = first + jnp.arange(num_chunks) * chunk_size
        return jax.lax.scan(add_chunk, empty, starts)[0]

    def shares(params: Params, key: Key, numbers: Array, examples: Example) -> _Running:
        """This device's examples and samples, with an axis for the latter's devices."""
        keys = fold_examples(key, numbers)
        running = jax.lax.map(lambda pair: one(params, *pair), (keys, examples))
        return jax.tree.map(lambda leaf: leaf[:, None], running)

    everywhere, rows = PartitionSpec(), PartitionSpec(DATA)
    running = jax.shard_map(
        shares,
        mesh=mesh,
        in_specs=(everywhere, everywhere, rows, rows),
        out_specs=PartitionSpec(DATA, SAMPLES),
        check_vma=False,  # it would ask every model's loops to vary over devices
    )(params, key, numbers, examples)
    # Small: to every device, and so to every process.
    running = jax.lax.with_sharding_constraint(running, NamedSharding(mesh, everywhere))
    log_sum = logsumexp(running.log_sum, axis=1)
    log_square_sum = logsumexp(running.log_square_sum, axis=1)
    tail = jax.lax.top_k(running.tail.reshape(len(numbers), -1), size + 1)[0]
    ess = jnp.exp(2 * log_sum - log_square_sum)
    unbiased = num_samples / (num_samples - 1) if num_samples > 1 else jnp.nan
    error = jnp.sqrt(jnp.maximum(1 / ess - 1 / num_samples, 0) * unbiased)
    mean = running.total.sum(1) / num_samples
    variance = (running.squares.sum(1) / num_samples - mean**2) * unbiased
    elbo_error = jnp.sqrt(jnp.maximum(variance, 0) / num_samples)
    log_px = log_sum - jnp.log(num_samples)
    return log_px, error, ess, running.shift[:, 0] + mean, elbo_error, tail
