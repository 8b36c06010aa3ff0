"""Statistics of drawn gradients: bias, variance, signal-to-noise, direction; errors.

Against a reference g* (exact, or an unbiased objective drawn independently), from n
draws of the gradient g, for a group of parameters:

    bias_squared     ||E g - g*||^2, by a U-statistic, which is unbiased itself, and so
                     below 0 by chance: the plug-in ||mean g - g*||^2 would be too large
                     by tr Cov(g) / n. With it, from `squared_norm`,
        ..._noise       the spread of that estimate where there is no bias
        ..._low, _high  the ends of its 95% interval
        ..._detectable  what a single one-sided test at 5% would find with probability
                        95% or more in so many draws
    variance         tr Cov(g)
    variance_q..     quantiles of the coordinates' sample variances; plug-ins, without
                     an error: by the noise of n draws they are further apart than those
                     of the variances
    pareto_k         the shape of the tail (Vehtari et al. 2024, arXiv:1507.02646) of
                     ||g - E g||^2, or of the largest (g_i - E g_i)^2, which is heavier
                     where there are many: from 1/2 on such squares have no variance,
                     and a variance, their mean, has no standard error; 0 where no draw
                     moves the variance by a quarter of its error, as then a few values
                     that come again and again, of discrete latents, are no tail
    safe             True if the draws give no reason to doubt the intervals: k is below
                     1/2, no draw holds a tenth of the variance, and there are 100 draws
                     or more, as fewer show no tail (ibid.). A rare gradient that is in
                     no draw leaves no trace
    snr              mean over coordinates of |E g_i| / sd(g_i) (Rainforth et al. 2018,
                     arXiv:1802.04537); where E g_i = 0 it shows its noise floor,
                     sqrt(2 / (pi n))
    rms_snr          the root mean square over coordinates of E g_i / sd(g_i), without a
                     floor: the square is less 1 / n, what the noise adds to it; NaN
                     where nothing is left
    norm_snr         ||E g|| / sqrt(tr Cov(g)), likewise
        ..._low, _high  the ends of the 95% interval of either, those of the square by
                     the equation of `squared_norm`; given also where the ratio is NaN
    cosine           of E g to g*, without the noise of either; NaN where it hides one
        ..._low, _high  the ends of its 95% interval, Fieller's
    draw_cosine      of a single g to g*, on average
    directional_snr  E ||g_par|| / ||g_orth||, parts along and across g* (Rainforth);
                     a draw of zeros counts as 0 here and in draw_cosine; NaN of a
                     single parameter, across which there is nothing

Standard errors are by the jackknife over folds of the draws, for the cosine also over
folds of a drawn reference; those of the last two are by the spread of the draws. An
interval without ends here is the error times Student's t of folds - 1 degrees of
freedom.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vaejax.benchmark.direction import alignment, cosine_of_means
from vaejax.benchmark.moments import Moments, gradient_moments, groups
from vaejax.benchmark.squared_norm import (
    Spread,
    ends_of,
    spread_of,
    squared_norm_of_mean,
)
from vaejax.core import Batch, Key, Objective, Params, PyTree
from vaejax.evaluation.psis import pareto_shapes

HEAVY = 0.5  # the Pareto k from which on a mean's error is unreliable
FEW = 100  # draws below which a k up to `HEAVY` is not known: 1 - 1 / log10(n) = 1/2
LARGEST_SHARE = 0.1  # of the variance, the most that one draw of many may hold
MOVES = 0.25  # least shift of a variance by one draw of a tail, in standard errors
# Precision of sums in float32 and of an exact reference, relative to the gradient.
ROUNDING = 1e-5


class GroupReport(NamedTuple):
    """Statistics of a group's gradient; NaN where the draws do not show one."""

    bias_squared: float  # below zero by chance where no bias exists
    bias_squared_stderr: float
    bias_squared_noise: float
    bias_squared_detectable: float
    bias_squared_low: float
    bias_squared_high: float
    folds: int  # number of folds behind the standard errors
    pareto_k: float
    safe: bool
    variance: float
    variance_stderr: float
    variance_q05: float
    variance_q50: float
    variance_q95: float
    snr: float
    snr_stderr: float
    rms_snr: float
    rms_snr_stderr: float
    rms_snr_low: float
    rms_snr_high: float
    norm_snr: float
    norm_snr_stderr: float
    norm_snr_low: float
    norm_snr_high: float
    cosine: float
    cosine_stderr: float
    cosine_low: float
    cosine_high: float
    draw_cosine: float = np.nan
    draw_cosine_stderr: float = np.nan
    directional_snr: float = np.nan
    directional_snr_stderr: float = np.nan


def grad_report(
    objective: Objective,
    params: Params,
    state: PyTree,
    key: Key,
    batch: Batch,
    *,
    draws: int,
    reference: Params | Moments,
    per_layer: bool = False,
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
        per_layer: report on every array of parameters by itself.

    Raises:
        VaejaxError: `draws` cannot be folded.
    """
    direction = reference.mean if isinstance(reference, Moments) else reference
    moments = gradient_moments(
        objective, params, state, key, batch, draws=draws, reference=direction
    )
    return summarize(moments, reference, per_layer=per_layer)


def summarize(
    moments: Moments, reference: Params | Moments, *, per_layer: bool = False
) -> dict[str, GroupReport]:
    """The report of drawn moments against a reference, by parameter group."""
    if isinstance(reference, Moments):
        targets = groups(reference.mean, per_layer)
        theirs = groups(reference.fold_means, per_layer, 1)
    else:
        targets, theirs = groups(reference, per_layer), {}
    means = groups(moments.fold_means, per_layer, 1)
    squares = groups(moments.fold_squares, per_layer, 1)
    variances = groups(moments.variance, per_layer)
    products = groups(moments.products, per_layer, 1)
    squared_norms = groups(moments.squared_norms, per_layer, 1)
    reports = {}
    for name, mean in groups(moments.mean, per_layer).items():
        folds, variance = means[name], variances[name]
        # An estimator's own parameters have no gradient of the bound.
        target = targets.get(name, np.full_like(mean, np.nan))
        pairs = min(len(folds), len(theirs.get(name, folds)))
        errors = folds[:pairs] - (theirs[name][:pairs] if name in theirs else target)
        found = dict(
            zip(STATISTICS, _statistics(mean, variance, moments.draws), strict=True)
        )
        errors_of, excess = jackknife(_statistics, folds, squares[name], moments.draws)
        stderrs = dict(zip(STATISTICS, errors_of, strict=True))
        ends: dict[str, float] = {}
        # The jackknife is of the squared ratios, which may be below 0; skewed draws
        # bias these ratios by the excess that the jackknife estimates.
        for ratio, spread in _spreads(folds, variance).items():
            square = found[ratio] - excess[STATISTICS.index(ratio)]
            own = spread._replace(estimate=square, variance=stderrs[ratio] ** 2)
            roots = np.sqrt(np.maximum(ends_of(own, len(folds)), 0))
            ends |= zip(
                (f"{ratio}_low", f"{ratio}_high"), map(float, roots), strict=True
            )
            found[ratio] = np.sqrt(square) if square > 0 else np.nan
            stderrs[ratio] /= 2 * found[ratio]
        floor = ROUNDING**2 * (mean @ mean + found["variance"])
        of_bias = squared_norm_of_mean(errors, floor)
        cosine = cosine_of_means(folds, theirs.get(name, target[None]))
        farthest = (moments.tails[name][0, 0] - found["variance"]) / moments.draws
        alone = farthest > LARGEST_SHARE * found["variance"]
        tail = not farthest < MOVES * stderrs["variance"]
        k = _pareto_k(moments.tails[name]) if tail else 0.0
        reports[name] = GroupReport(
            **dict(zip(BIASES, of_bias, strict=True)),
            folds=pairs,
            pareto_k=k,
            safe=moments.draws >= FEW and k < HEAVY and not alone,
            **{statistic: float(value) for statistic, value in found.items()},
            **{f"{name}_stderr": float(stderrs[name]) for name in WITH_ERROR},
            **ends,
            **dict(zip(COSINES, cosine, strict=True)),
            **(
                alignment(products[name], squared_norms[name], target)
                if products
                else {}
            ),
        )
    return reports


def _pareto_k(tails: np.ndarray) -> float:
    """The larger k of two tails of squared deviations, 0 where all deviations are 0."""
    if not tails[0, 0] > 0:
        return 0.0
    with np.errstate(divide="ignore"):
        return float(pareto_shapes(np.log(tails)).max())


QUANTILES = {"variance_q05": 0.05, "variance_q50": 0.5, "variance_q95": 0.95}
BIASES = tuple(name for name in GroupReport._fields if name.startswith("bias"))
COSINES = tuple(name for name in GroupReport._fields if name.startswith("cosine"))
WITH_ERROR = ("variance", "snr", "rms_snr", "norm_snr")
STATISTICS = (*WITH_ERROR, *QUANTILES)


def _statistics(mean: np.ndarray, variance: np.ndarray, count: int) -> np.ndarray:
    """The values of `STATISTICS`, with rms_snr and norm_snr squared."""
    trace = variance.sum()
    quantiles = np.quantile(variance, list(QUANTILES.values()))
    varies = variance > 0
    if not varies.any():
        return np.array([trace, np.inf, np.inf, np.inf, *quantiles])
    ratios = np.abs(mean[varies]) / np.sqrt(variance[varies])
    square = np.mean(ratios**2) - 1 / count
    of_norm = mean @ mean / trace - 1 / count
    return np.array([trace, ratios.mean(), square, of_norm, *quantiles])


def _spreads(folds: np.ndarray, variance: np.ndarray) -> dict[str, Spread]:
    """The spread of the squared rms_snr and norm_snr by the noise of the mean."""
    varies = variance > 0
    standardised = folds[:, varies] / np.sqrt(variance[varies] * max(varies.sum(), 1))
    trace = variance.sum()
    of_norm = folds / np.sqrt(trace) if trace > 0 else folds
    return {"rms_snr": spread_of(standardised), "norm_snr": spread_of(of_norm)}


def jackknife(
    statistics: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    fold_means: np.ndarray,
    fold_squares: np.ndarray,
    draws: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors and biases of statistics of (mean, variance, count).

    Each fold is left out in turn (Efron 1982, "The jackknife, the bootstrap and other
    resampling plans").

    Args:
        statistics: of the mean and the variance [P] of so many draws.
        fold_means: [folds, P].
        fold_squares: sums of squared deviations from them, [folds, P].
        draws: in all folds together.
    """
    folds = len(fold_means)
    per_fold = draws // folds
    mean = fold_means.mean(0)
    # Sums of squares about the overall mean.
    square = fold_squares.sum(0) + per_fold * np.square(fold_means - mean).sum(0)
    rest = draws - per_fold

    def without(own_mean: np.ndarray, own_square: np.ndarray) -> np.ndarray:
        shift = np.square(own_mean - mean) * per_fold * draws / rest
        variance = np.maximum(square - own_square - shift, 0) / (rest - 1)
        others = (draws * mean - per_fold * own_mean) / rest
        return statistics(others, variance, rest)

    if rest < 2:
        unknown = np.full_like(statistics(mean, square, draws), np.nan)
        return unknown, np.zeros_like(unknown)
    values = list(map(without, fold_means, fold_squares))
    with np.errstate(invalid="ignore"):  # infinities have no spread
        whole = statistics(mean, square / (draws - 1), draws)
        excess = (folds - 1) * (np.mean(values, axis=0) - whole)
        error = np.sqrt((folds - 1) * np.var(values, axis=0))
        return error, np.where(np.isfinite(excess), excess, 0.0)
