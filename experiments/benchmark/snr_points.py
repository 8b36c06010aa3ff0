"""The points of the signal-to-noise curves: gradients drawn at one (M, K).

A gradient is the mean over the observations of the batch and, for each of them, over M
independent estimates from K samples. The draws come in folds. Unbiased estimators of
one bound have the same E g, which is estimated by the mean of the least noisy estimator
on the same folds, so that a ratio far below the noise floor of its own draws is known
as well as the others.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.result_row import ResultRow
from vaejax.benchmark import gradient_moments, summarize
from vaejax.benchmark.cells import Point
from vaejax.benchmark.laws import signal_to_noise
from vaejax.benchmark.moments import groups
from vaejax.bounds import elbo
from vaejax.compatibility import check_with_remedy
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Example,
    Key,
    LossState,
    Model,
    Objective,
    Params,
    Problem,
    Verdict,
)
from vaejax.estimators import pathwise
from vaejax.models.gaussian_toy import (
    exact_elbo,
    exact_log_px,
    gaussian_toy,
    optimum,
    perturbed,
)
from vaejax.objective import make_objective, split_params

GROUPS = {"model": ("decoder", "prior"), "encoder": ("encoder",)}  # theta, phi
FOLDS = 20
SAMPLES_AT_ONCE = 2**15  # over all examples and draws: memory is O(this), or K
DIM, COUNT = 20, 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class SnrRow(ResultRow):
    """The signal-to-noise ratios of an estimator at a point, of a parameter group."""

    num_outer: int
    num_samples: int
    estimator: str
    group: str = "all"
    status: str
    draws: int
    folds: int = FOLDS
    pareto_k: float = np.nan
    safe: bool | None = None
    snr: float = np.nan
    snr_stderr: float = np.nan
    signal_of: str | None = None  # the estimator whose draws show the signal
    own_snr: float = np.nan
    own_snr_stderr: float = np.nan
    plain_snr: float = np.nan
    reason: str | None = None


class Folds(NamedTuple):
    """The mean and variance of a group's gradient within every fold, each [F, P]."""

    means: np.ndarray
    variances: np.ndarray
    pareto_k: float  # the largest of the group's fields
    safe: bool


def toy(key: Key, dim: int = DIM, count: int = COUNT) -> tuple[Model, Params, Example]:
    """The toy near its optimum for the data drawn here, as in Rainforth et al. 2018.

    mu* ~ N(0, I), x_n ~ N(mu*, 2 I); the parameters are the optimum for these x, each
    with noise of standard deviation 0.01 added.
    """
    truth_key, data_key, noise_key = jax.random.split(key, 3)
    truth = jax.random.normal(truth_key, (dim,))
    x = truth[None] + np.sqrt(2) * jax.random.normal(data_key, (count, dim))
    params = perturbed(optimum(x.mean(0)), noise_key)
    return gaussian_toy((dim,)), params, Example(x)


class Gap(NamedTuple):
    """The gap log p(x) - ELBO in nats, averaged over the observations."""

    exact: float
    estimate: float
    stderr: float


def gap_at_optimum(
    model: Model, examples: Example, key: Key, *, draws: int = 20
) -> Gap:
    """The toy's gap at the optimal encoder, in closed form and by sampling."""
    params = optimum(examples.x.mean(0))
    log_px = jax.vmap(exact_log_px, (None, 0))(params, examples.x)
    exact = jax.vmap(exact_elbo, (None, None, 0))(model, params, examples.x)
    objective = make_objective(model, elbo(), pathwise(), num_samples=16)
    batch = Batch(examples, jnp.arange(len(examples.x)))
    loss = jax.jit(lambda key: objective.loss(params, LossState(), key, batch)[0])
    gaps = np.array(
        [float(log_px.mean() + loss(k)) for k in jax.random.split(key, draws)]
    )
    stderr = gaps.std(ddof=1) / np.sqrt(draws)
    return Gap(float((log_px - exact).mean()), float(gaps.mean()), float(stderr))


def measure_point(
    point: Point,
    bound: Bound,
    estimators: Sequence[Estimator],
    num_outer: int,
    num_samples: int,
) -> list[SnrRow]:
    """A row per estimator and parameter group; a refusing estimator has one row."""
    problem = Problem(model=point.model, bound=bound, num_samples=num_samples)
    row_of = partial(
        SnrRow, num_outer=num_outer, num_samples=num_samples, draws=point.draws
    )
    key = jax.random.fold_in(point.keys.draws, num_outer)
    point = point._replace(
        batch=_repeated(point.batch.example, num_outer),
        keys=point.keys._replace(draws=jax.random.fold_in(key, num_samples)),
    )
    rows = []
    verdicts: dict[str, Verdict] = {}
    drawn: dict[str, dict[str, Folds]] = {}
    for estimator in estimators:
        verdict = verdicts[estimator.name] = check_with_remedy(problem, estimator)
        if verdict.status == "refused":
            rows.append(row_of(estimator=estimator.name, **verdict._asdict()))
            continue
        objective = make_objective(
            point.model, bound, estimator, num_samples=num_samples, allow_bias=True
        )
        drawn[estimator.name] = _draw(point, objective, num_samples)
    unbiased = [name for name in drawn if verdicts[name].status == "unbiased"]
    for group in GROUPS:
        folds = {name: groups[group] for name, groups in drawn.items()}
        for name, own in folds.items():
            if own.means.size == 0:
                continue
            source = _quietest(folds, unbiased) if name in unbiased else name
            own_snr = signal_to_noise(own.means, own.variances)
            snr = signal_to_noise(folds[source].means, own.variances)
            rows.append(
                row_of(
                    estimator=name,
                    group=group,
                    status=verdicts[name].status,
                    pareto_k=max(own.pareto_k, folds[source].pareto_k),
                    safe=own.safe and folds[source].safe,
                    snr=snr.value,
                    snr_stderr=snr.stderr,
                    signal_of=source,
                    own_snr=own_snr.value,
                    own_snr_stderr=own_snr.stderr,
                    plain_snr=_plain(own),
                )
            )
    return rows


def _repeated(examples: Example, times: int) -> Batch:
    """Every observation repeated `times` times, each copy with its own random key."""
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, times, axis=0), examples)
    return Batch(repeated, jnp.arange(len(repeated.x)))


def _draw(point: Point, objective: Objective, num_samples: int) -> dict[str, Folds]:
    """The gradient's moments in every fold, by parameter group."""
    start, state = objective.init(point.keys.state)
    given = point.params._replace(auxiliary=start.auxiliary)
    params, state = split_params(given, state)
    per_draw = len(point.batch.global_index) * num_samples
    moments = gradient_moments(
        objective,
        params,
        state,
        point.keys.draws,
        point.batch,
        draws=point.draws,
        folds=FOLDS,
        max_chunk=max(1, SAMPLES_AT_ONCE // per_draw),
    )
    reports = summarize(moments, moments.mean)
    degrees = point.draws // FOLDS - 1
    found = {}
    for group, fields in GROUPS.items():
        own = [reports[field] for field in fields if field in reports]
        found[group] = Folds(
            _of_fields(moments.fold_means, fields),
            _of_fields(moments.fold_squares, fields) / degrees,
            float(np.max([report.pareto_k for report in own], initial=0)),
            all(report.safe for report in own),
        )
    return found


def _of_fields(tree: Params, fields: Sequence[str]) -> np.ndarray:
    """The concatenated parameters of the fields in every fold, [F, P]."""
    found = groups(tree, lead=1)
    none = np.empty((FOLDS, 0))
    return np.concatenate([found.get(field, none) for field in fields], axis=1)


def _quietest(folds: dict[str, Folds], names: list[str]) -> str:
    return min(names, key=lambda name: float(folds[name].variances.sum()))


def _plain(folds: Folds) -> float:
    """The mean over coordinates of |mean g_i| / sd(g_i), which has a noise floor."""
    varies = folds.variances.min(0) > 0
    noise = np.sqrt(folds.variances.mean(0)[varies])
    return float(np.mean(np.abs(folds.means.mean(0)[varies]) / noise))
