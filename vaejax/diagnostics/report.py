"""What drawn gradients say: bias, variance, signal-to-noise, direction, with errors.

Against a reference g* (exact, or an unbiased objective drawn independently), from n
draws of the gradient g, for a group of parameters:

    bias             ||E g - g*||^2, by a U-statistic, which is unbiased itself: the
                     plug-in ||mean g - g*||^2 would be too large by tr Cov(g) / n
    bias_noise       the spread of that estimate where there is no bias
    bias_low, bias_high
                     the ends of its 95% interval (see `squared_norm_of_mean`)
    bias_detectable  the bias that a single one-sided test at 5% would find with
                     probability 95% or more in so many draws
    variance         tr Cov(g), and quantiles of the coordinates' sample variances, that
                     are further apart than the variances, by the noise of n draws
    snr              mean over coordinates of |E g_i| / sd(g_i) (Rainforth et al. 2018,
                     arXiv:1802.04537); where E g_i = 0 it shows its noise floor,
                     sqrt(2 / (pi n))
    rms_snr          the root mean square over coordinates of E g_i / sd(g_i), without a
                     floor: the square is less 1 / n, what the noise adds to it; NaN
                     where nothing is left
    norm_snr         ||E g|| / sqrt(tr Cov(g)), less what the noise adds to ||mean g||
    cosine           of E g to g*, without the noise of either; NaN where it hides one
    draw_cosine      of a single g to g*, on average
    directional_snr  E ||g_par|| / ||g_orth||, parts along and across g* (Rainforth);
                     a draw of zeros counts as 0 here and in draw_cosine

Standard errors are by the jackknife over folds of the draws, of the
cosine over those of a drawn reference too; those of the last two are by the draws' own
spread.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from vaejax.core import Batch, EstState, Key, Objective, Params
from vaejax.diagnostics.direction import alignment, cosine_of_means
from vaejax.diagnostics.moments import Moments, gradient_moments

QUANTILE = 1.645  # of the normal distribution at 95%
NORMAL_95 = 1.96  # half-width of a 95% interval in standard errors
# Of the gradient: what the sums in float32, and an exact reference, are good to.
ROUNDING = 1e-5


class GroupReport(NamedTuple):
    """Statistics of a group's gradient; NaN where the draws do not tell."""

    bias: float  # below zero by chance where there is none
    bias_stderr: float
    bias_noise: float
    bias_detectable: float
    bias_low: float
    bias_high: float
    variance: float
    variance_stderr: float
    variance_q05: float
    variance_q05_stderr: float
    variance_q50: float
    variance_q50_stderr: float
    variance_q95: float
    variance_q95_stderr: float
    snr: float
    snr_stderr: float
    rms_snr: float
    rms_snr_stderr: float
    norm_snr: float
    norm_snr_stderr: float
    cosine: float
    cosine_stderr: float
    draw_cosine: float = np.nan
    draw_cosine_stderr: float = np.nan
    directional_snr: float = np.nan
    directional_snr_stderr: float = np.nan


def grad_report(
    objective: Objective,
    params: Params,
    state: EstState,
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
        found = _statistics(mean, variance, moments.draws)
        errors_of, excess = jackknife(_statistics, folds, squares[name], moments.draws)
        told = dict(zip(STATISTICS, map(float, found), strict=True))
        stderrs = dict(zip(STATISTICS, map(float, errors_of), strict=True))
        # The jackknife was of its square, which may be below 0; draws that are skewed
        # bend the ratio, by as much as the jackknife says.
        square = told["rms_snr"] - excess[STATISTICS.index("rms_snr")]
        told["rms_snr"] = float(np.sqrt(square)) if square > 0 else np.nan
        stderrs["rms_snr"] /= 2 * told["rms_snr"]
        cosine, cosine_error = cosine_of_means(folds, theirs.get(name, target[None]))
        floor = ROUNDING**2 * (mean @ mean + told["variance"])
        told |= zip(BIASES, squared_norm_of_mean(errors, floor), strict=True)
        reports[name] = GroupReport(
            **told,
            **{f"{statistic}_stderr": error for statistic, error in stderrs.items()},
            cosine=cosine,
            cosine_stderr=cosine_error,
            **(
                alignment(products[name], squared_norms[name], target)
                if products
                else {}
            ),
        )
    return reports


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


QUANTILES = {"variance_q05": 0.05, "variance_q50": 0.5, "variance_q95": 0.95}
BIASES = (
    *("bias", "bias_stderr", "bias_noise", "bias_detectable"),
    *("bias_low", "bias_high"),
)
STATISTICS = ("variance", *QUANTILES, "snr", "rms_snr", "norm_snr")


def _statistics(mean: np.ndarray, variance: np.ndarray, count: int) -> np.ndarray:
    """Those of `STATISTICS`, the rms snr squared."""
    trace = variance.sum()
    quantiles = np.quantile(variance, list(QUANTILES.values()))
    varies = variance > 0
    if not varies.any():
        return np.array([trace, *quantiles, np.inf, np.inf, np.inf])
    ratios = np.abs(mean[varies]) / np.sqrt(variance[varies])
    square = np.mean(ratios**2) - 1 / count
    signal = max(mean @ mean - trace / count, 0.0)
    return np.array([trace, *quantiles, ratios.mean(), square, np.sqrt(signal / trace)])


def jackknife(
    statistics: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    fold_means: np.ndarray,
    fold_squares: np.ndarray,
    draws: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors and biases of statistics of (mean, variance, count).

    By leaving a fold out (Efron 1982, "The jackknife, the bootstrap and other
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
    # Sums of squares about the mean of all.
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


class SquaredNorm(NamedTuple):
    """An estimate of ||E v||^2, and what is known of it."""

    estimate: float
    stderr: float
    noise: float  # its spread where E v = 0
    detectable: float  # the ||E v||^2 that would be found
    low: float  # ends of its 95% interval
    high: float


def squared_norm_of_mean(vectors: np.ndarray, floor: float = 0.0) -> SquaredNorm:
    """Unbiased ||E v||^2 from independent v, [n, P], and what is known of it.

        U = mean_{i != j} v_i . v_j,
        Var U = (4 (n - 2) zeta_1 + 2 zeta_2) / (n (n - 1)),

    with zeta_1 = Var(v_1 . E v) and zeta_2 = Var(v_1 . v_2), both by U-statistics of
    the same products (Hoeffding 1948). n is at least 4. The error is on the safe side,
    by up to 40%, where E v = 0 and few directions vary: zeta_1, 0 there, is estimated
    at 0 or above.

    Without a mean zeta_2 is tr C^2, C = Cov(v), and zeta_1 is 0; a mean m adds m'C m to
    the latter, |m|^2 tr C^2 / tr C where it lies as the noise does:

        Var U = noise^2 + growth |m|^2,   noise^2 = 2 tr C^2 / (n (n - 1)),
                                          growth = 4 tr C^2 / (n tr C).

    A test at 5% finds U > q stderr, q = 1.645; with probability 95% it finds the |m|^2
    that is 2 q of its own standard errors, the root of x^2 = 4 q^2 (noise^2 + growth
    x). By simulation it does so somewhat more often, as a U that is small by chance has
    a small error.

    The interval's lower end is the |m|^2 below which U would be 1.96 of its standard
    errors too high, taken there, as U and its error from the same draws are large
    together: (U - low)^2 = 1.96^2 (noise^2 + slope low), where the slope is that which
    gives U its error. The upper end is 1.96 standard errors above U.

    Args:
        vectors: v, [n, P].
        floor: an error of U besides that of the draws.

    """
    n = len(vectors)
    products = vectors @ vectors.T
    squared_norms = np.diag(products).mean()
    np.fill_diagonal(products, 0.0)
    rows, total = products.sum(1), products.sum()
    squares = (products**2).sum()
    pairs = n * (n - 1)
    estimate = total / pairs
    same_pair = squares / pairs
    one_shared = ((rows**2).sum() - squares) / (pairs * (n - 2))
    none_shared = (total**2 - 4 * (rows**2).sum() + 2 * squares) / (
        pairs * (n - 2) * (n - 3)
    )
    zeta_1 = max(one_shared - none_shared, 0.0)
    zeta_2 = max(same_pair - none_shared, 0.0)
    of_noise = max(same_pair - 2 * one_shared + none_shared, 0.0)
    stderr = np.sqrt((4 * (n - 2) * zeta_1 + 2 * zeta_2) / pairs + floor**2)
    noise = np.sqrt(2 * of_noise / pairs + floor**2)
    trace = squared_norms - estimate
    growth = 4 * of_noise / (n * trace) if trace > 0 else 0.0
    half = 2 * QUANTILE**2 * growth
    detectable = half + np.hypot(half, 2 * QUANTILE * noise)
    found = estimate, stderr, noise, detectable, *_ends(estimate, stderr, noise)
    return SquaredNorm(*map(float, found))


def _ends(estimate: float, stderr: float, noise: float) -> tuple[float, float]:
    """The 95% interval around an estimate U of a squared norm."""
    high = estimate + NORMAL_95 * stderr
    if estimate <= NORMAL_95 * noise:
        return estimate - NORMAL_95 * noise, high
    slope = NORMAL_95**2 * max(stderr**2 - noise**2, 0.0) / estimate
    reach = np.sqrt(slope * estimate + slope**2 / 4 + (NORMAL_95 * noise) ** 2)
    return estimate + slope / 2 - reach, high
