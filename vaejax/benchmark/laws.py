"""Scaling laws: a signal-to-noise ratio free of its noise floor, and a fitted exponent.

For n gradient draws, the ratio |mean g_i| / sd(g_i) is never below about
sqrt(2 / (pi n)), so that a ratio which falls with K seems to level off. Its square has
an estimate without a floor, by the means m_f of F independent folds of the draws,

    SNR^2 = mean_i (E g_i)^2 / Var g_i,   (E g_i)^2 ~ mean_{f != h} m_fi m_hi,

whose expectation is 0 where E g is. A law SNR ~ x^c is a line on logarithmic axes.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from vaejax.core import VaejaxError


class Ratio(NamedTuple):
    """A signal-to-noise ratio and its standard error; NaN where SNR^2 came out <= 0."""

    value: float
    stderr: float


def signal_to_noise(
    means: Float[np.ndarray, "F P"], variances: Float[np.ndarray, "F P"]
) -> Ratio:
    """The root mean square over coordinates of E g_i / sd(g_i), without a noise floor.

    Coordinates that never vary are left out. The standard error is the jackknife's
    over folds (Efron and Stein 1981).

    Args:
        means: of every fold; or, of the same folds, those of another unbiased estimator
            of the same E g, which may see it through less noise.
        variances: of a single draw, as estimated within every fold.

    Raises:
        VaejaxError: fewer than 3 folds.
    """
    if len(means) < 3:
        raise VaejaxError(f"{len(means)} folds give no standard error: use at least 3")
    varies = variances.min(0) > 0
    means, variances = means[:, varies], variances[:, varies]
    square = _squared_ratio(means, variances)
    left_out = [
        _squared_ratio(np.delete(means, f, 0), np.delete(variances, f, 0))
        for f in range(len(means))
    ]
    stderr = np.std(left_out) * np.sqrt(len(means) - 1)
    if not square > 0:
        return Ratio(np.nan, np.nan)
    return Ratio(float(np.sqrt(square)), float(stderr / (2 * np.sqrt(square))))


def _squared_ratio(
    means: Float[np.ndarray, "F P"], variances: Float[np.ndarray, "F P"]
) -> float:
    folds = len(means)
    different = means.sum(0) ** 2 - (means**2).sum(0)
    return float(np.mean(different / (folds * (folds - 1)) / variances.mean(0)))


class Slope(NamedTuple):
    """The exponent c of y ~ x^c with its 95% confidence interval."""

    slope: float
    low: float
    high: float
    chi_square: float  # chi-square of the residuals, with `degrees` degrees of freedom
    degrees: int


def fit_slope(
    x: ArrayLike, y: ArrayLike, stderr: ArrayLike, folds: int | None = None
) -> Slope:
    """Fit log y = a + c log x by least squares, weighted by the errors of log y.

    Points that scatter about the line by more than their errors widen the
    interval, by sqrt(chi_square / degrees) (Birge 1932).

    Args:
        x: [N], where; at least two different values above 0.
        y: [N], what, above 0.
        stderr: [N], independent standard errors of y, above 0.
        folds: that each error is from, if it is an estimate: the interval is by
            Student's t of one less, on the safe side, as a slope averages the errors.

    Raises:
        VaejaxError: points that no line can be fitted to.
    """
    x, y, stderr = (np.asarray(values, float) for values in (x, y, stderr))
    fits = all(np.all(np.isfinite(v) & (v > 0)) for v in (x, y, stderr))
    if not fits or len(np.unique(x)) < 2:
        raise VaejaxError(
            "a slope needs finite values and errors above 0 at two places or more, "
            f"and was given {y} ± {stderr} at {x}: use more draws, or leave such "
            "places out"
        )
    weights = (y / stderr) ** 2  # one over the variance of log y
    u, v = np.log(x), np.log(y)
    u = u - np.average(u, weights=weights)
    v = v - np.average(v, weights=weights)
    information = float(weights @ u**2)
    slope = float(weights @ (u * v)) / information
    chi_square, degrees = float(weights @ (v - slope * u) ** 2), len(x) - 2
    scatter = np.sqrt(max(1.0, chi_square / degrees)) if degrees else 1.0
    quantile = stdtrit(np.inf if folds is None else folds - 1, 0.975)
    reach = float(quantile * scatter / np.sqrt(information))
    return Slope(slope, slope - reach, slope + reach, chi_square, degrees)
