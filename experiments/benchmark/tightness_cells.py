"""The cells of a comparison of bounds: the gap of each to log p(x), at every K.

At one K every bound sees the same draws of the K log-weights. A bound's expectation is
its mean over draws and examples; its error is the error over draws, for these examples.

Where the model can be integrated, log p(x) is exact, and so are the moments of the
weights, from which theory predicts the bound at large K. For `1/p log mean_n w^p`, the
delta method gives

    E = 1/p log E w^p - Var(w^p) / (2 n p (E w^p)^2) + O(1/n^2),

for IWAE `log p(x) - Var(w) / (2 K p(x)^2)`, if the moments are finite. The mean weight
over p(x), of mean 1, is then also a control variate, which separates a gap that falls
as 1/K from zero at any K. Its coefficient for each half of the draws is fitted on the
other half, so that the mean has no bias. The control variate is used where its known
variance is small: it would worsen a mean that depends on rare draws.

Sources: Maddison et al. 2017, arXiv:1705.09279, proposition 1; Nowozin 2018; Domke and
Sheldon 2018, arXiv:1808.09034, theorem 3.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array

from experiments.benchmark.measured_model import Measured
from experiments.harness.result_row import ResultRow
from vaejax import exact
from vaejax.core import Bound, Example, Key, Model, Params, Problem, VaejaxError, plain
from vaejax.core.memory import check_product, sample_size
from vaejax.evaluation import log_likelihood
from vaejax.evaluation.log_likelihood import effective_sample_size
from vaejax.evaluation.psis import pareto_shapes, tail_size
from vaejax.terms import bound_value, log_terms, sample_posterior

SAMPLES_AT_ONCE = 2**12  # over several draws; jvi compares all pairs in a draw
CONTROLLED = 0.1  # largest variance of the control variate
FITTED_DRAWS = 100  # draws per example with fitted tails of weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class TightnessRow(ResultRow):
    """A bound at one K, in nats, means over examples; or the reason for a refusal."""

    bound: str
    num_samples: int
    kind: str  # the bound's relation to log p(x), or "refused"
    refusal: str | None = None
    value: float = np.nan
    stderr: float = np.nan
    example_stderr: float = np.nan
    rounding: float = np.nan
    log_px: float = np.nan
    log_px_stderr: float = np.nan
    gap: float = np.nan  # log_px - value
    gap_stderr: float = np.nan
    gap_example_stderr: float = np.nan
    limit: float = np.nan  # as K -> inf
    leading_order: float = np.nan  # the value of theory at this K
    relative_ess: float = np.nan
    pareto_k: float = np.nan
    above: float = dataclasses.field(
        default=np.nan, metadata={"column": "pareto_k_above_0.7"}
    )


class Reference(NamedTuple):
    """The log p(x) of every example, with its error and its source."""

    log_px: np.ndarray
    stderr: np.ndarray  # 0 where it is exact
    source: str
    is_exact: bool
    # log E w^order of every example, or None if it is infinite or not known.
    moment: Callable[[float], np.ndarray | None]
    shortfall: float | None = 0.0  # expected shortfall of the mean
    pareto_k_above: float | None = 0.0  # share of examples with k above 0.7


def reference_of(measured: Measured, key: Key, num_samples: int) -> Reference:
    """Log p(x), exact if the posterior can be integrated, and else estimated."""
    model, params, examples = measured.model, measured.params, measured.examples

    @cache
    def moment(order: float) -> np.ndarray | None:
        try:
            return exact.log_moment(model, params, examples, order=order)
        except VaejaxError:
            return None

    log_px = moment(1.0)
    if log_px is not None:
        return Reference(log_px, np.zeros_like(log_px), "exact", True, moment)
    found = log_likelihood(model, params, examples, key, num_samples=num_samples)
    summary = found.summary()
    return Reference(
        found.log_px.astype(float),
        found.monte_carlo_error.astype(float),
        f"{num_samples} importance samples",
        False,
        lambda order: None,
        summary["expected_shortfall"],
        summary["pareto_k_above_0.7"],
    )


def measure(
    measured: Measured,
    reference: Reference,
    bounds: Sequence[Bound],
    num_samples: int,
    draws: int,
    key: Key,
) -> list[TightnessRow]:
    """A row per bound at one K; the row of a refused bound gives the reason."""
    refusals = [bound.needs(measured.model, num_samples) for bound in bounds]
    drawn = tuple(b for b, why in zip(bounds, refusals, strict=True) if why is None)
    found = (
        _draw_all(measured, reference, drawn, num_samples, draws, key) if drawn else {}
    )
    count = len(reference.log_px)
    rows = []
    for bound, refusal in zip(bounds, refusals, strict=True):
        row_of = partial(TightnessRow, bound=bound.name, num_samples=num_samples)
        if refusal is not None:
            rows.append(row_of(kind="refused", refusal=refusal))
            continue
        means, variances = found["mean"][bound.name], found["variance"][bound.name]
        stderr = np.sqrt((variances / draws).sum()) / count
        log_px_stderr = np.sqrt((reference.stderr**2).sum()) / count
        gaps = reference.log_px - means
        limit, leading_order = _theory(bound, num_samples, reference)
        rows.append(
            row_of(
                kind=bound.relation,
                value=means.mean(),
                stderr=stderr,
                example_stderr=_stderr(means),
                rounding=_rounding(bound, num_samples, reference),
                log_px=reference.log_px.mean(),
                log_px_stderr=log_px_stderr,
                gap=gaps.mean(),
                gap_stderr=np.hypot(stderr, log_px_stderr),
                gap_example_stderr=_stderr(gaps),
                limit=limit,
                leading_order=leading_order,
                **found["weights"],
            )
        )
    return rows


def _rounding(bound: Bound, num_samples: int, reference: Reference) -> float:
    """The largest shift of the bound by rounding, which cancelling terms amplify."""
    parts = bound.expectation(num_samples) or []
    size = max(1.0, sum(abs(part.coefficient) for part in parts))
    half_ulp = float(jnp.finfo(jnp.zeros(()).dtype).eps) / 2
    return size * half_ulp * float(np.abs(reference.log_px).mean())


def _theory(
    bound: Bound, num_samples: int, reference: Reference
) -> tuple[float, float]:
    """The bound as K -> inf and, to leading order, at this K; means over examples.

    NaN where theory, or a moment of the weights, has none.
    """
    parts = bound.expectation(num_samples)
    if bound.log_weight is not plain or bound.penalty or parts is None:
        return np.nan, np.nan
    if len(parts) != 1 or parts[0].coefficient != 1 or parts[0].size == 1:
        return np.nan, np.nan
    _, size, power = parts[0]
    first, second = reference.moment(power), reference.moment(2 * power)
    if first is None:
        return np.nan, np.nan
    limit = float(first.mean() / power)
    if second is None:
        return limit, np.nan
    variance = np.expm1(second - 2 * first).mean()  # relative to (E w^p)^2
    return limit, limit - variance / (2 * size * power)


def _draw_all(
    measured: Measured,
    reference: Reference,
    bounds: tuple[Bound, ...],
    num_samples: int,
    draws: int,
    key: Key,
) -> dict[str, Any]:
    """Every bound's mean and variance over draws, per example; weight statistics."""
    model, params, examples = measured.model, measured.params, measured.examples
    second = reference.moment(2.0)
    means, variances, ess, shapes = [], [], [], []
    for n in range(len(examples.x)):
        values, log_means, sizes, tails = jax.device_get(
            _draw(
                *(model, bounds, num_samples, draws, params),
                jax.random.fold_in(key, n),
                jax.tree.map(lambda leaf, n=n: leaf[n], examples),
            )
        )
        values = values.astype(float)
        if second is not None:
            log_px = reference.log_px[n]
            if np.expm1(second[n] - 2 * log_px) / num_samples <= CONTROLLED:
                values = controlled(values, np.expm1(log_means - log_px))
        means.append(values.mean(0))
        variances.append(values.var(0, ddof=1))
        ess.append(sizes.mean(dtype=float))
        shapes.append(pareto_shapes(tails[:FITTED_DRAWS]))
    k = np.concatenate(shapes)
    names = [bound.name for bound in bounds]
    return {
        "mean": dict(zip(names, np.transpose(means), strict=True)),
        "variance": dict(zip(names, np.transpose(variances), strict=True)),
        "weights": {
            "relative_ess": np.mean(ess) / num_samples,
            "pareto_k": np.median(k),
            "above": np.nan if np.isnan(k).all() else np.mean(k > 0.7),
        },
    }


def controlled(values: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Draws [D, B] with the same means, reduced by a control variate [D] of mean 0."""
    even = np.arange(len(control)) % 2 == 0
    found = values.copy()
    for fitted, used in ((even, ~even), (~even, even)):
        centred = control[fitted] - control[fitted].mean()
        square = centred @ centred
        if square > 0:  # else the posterior is exact
            found[used] -= np.outer(control[used], centred @ values[fitted] / square)
    return found


def check_sizes(
    measured: Measured, bounds: Sequence[Bound], num_samples: int, draws: int
) -> None:
    """Refuse more numbers than a program, which runs per example, can hold.

    Raises:
        VaejaxError: they are too many.
    """
    model, params, examples = measured.model, measured.params, measured.examples
    y = None if examples.y is None else examples.y[0]
    at_once = _draws_at_once(num_samples, draws)
    size = sample_size(model, params, y)
    check_product({"num_samples": num_samples}, at_once * size)
    # Each draw has the bounds, two figures of the weights, and the largest weights.
    check_product({"draws": draws}, len(bounds) + 2 + _kept(num_samples))


def _draws_at_once(num_samples: int, draws: int) -> int:
    return min(draws, max(1, SAMPLES_AT_ONCE // num_samples))


def _kept(num_samples: int) -> int:
    return min(num_samples, tail_size(num_samples) + 1)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _draw(
    model: Model,
    bounds: tuple[Bound, ...],
    num_samples: int,
    draws: int,
    params: Params,
    key: Key,
    example: Example,
) -> tuple[Array, Array, Array, Array]:
    """Every draw's bounds, log-mean weight, effective sample size, largest log-weights.

    Draw i uses `fold_in(key, i)`, however many draws are computed at once.
    """
    problems = [
        Problem(model=model, bound=bound, num_samples=num_samples) for bound in bounds
    ]
    kept = _kept(num_samples)

    def one(i: Array) -> tuple[Array, Array, Array, Array]:
        dist_params, z = sample_posterior(
            problems[0], params, jax.random.fold_in(key, i), example
        )
        terms = log_terms(model, params, dist_params, z, example)
        log_w = plain(terms)
        values = [
            bound_value(problem, params, dist_params, example, terms)
            for problem in problems
        ]
        log_mean = logsumexp(log_w) - np.log(num_samples)
        ess = effective_sample_size(log_w)
        return jnp.stack(values), log_mean, ess, jax.lax.top_k(log_w, kept)[0]

    size = _draws_at_once(num_samples, draws)
    filled_up = jnp.arange(-(-draws // size) * size)
    found = jax.lax.map(one, filled_up, batch_size=size)
    return jax.tree.map(lambda leaf: leaf[:draws], found)


def _stderr(values: np.ndarray) -> float:
    """The standard error of the mean over random examples; NaN for one example."""
    if len(values) < 2:
        return np.nan
    return float(values.std(ddof=1) / np.sqrt(len(values)))
