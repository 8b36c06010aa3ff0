"""Where gradients point: the mean of the draws, and single ones, to a reference.

The mean of n draws is longer than E g by its noise, ||mean g||^2 ~ ||E g||^2 +
tr Cov(g) / n, and a drawn reference longer than g*, so that the cosine of the two is
too small, the more so the fewer the draws. From independent folds the squared lengths
are had without the noise, by the products of different folds (a U-statistic):

    cosine = <mean g, mean g*> / sqrt(U_g U_g*),    U_v = mean_{i != j} v_i . v_j

Where U is of the size of its error, so is what the root divides by, and no correction
of the ratio has a bound: where noise has one main direction, along which the mean lies,
its error grows with the mean. From `SEEN` times the error at U on, this growth
included, the correction is small. The interval is Fieller's (1954, JRSS B 16, 175):
of a mean that is long by chance the error of the ratio is small, that of

    <mean g, mean g*> - c sqrt(U_g U_g*)

hardly less, and the ends are the c at which it is t of its standard errors from 0.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from vaejax.benchmark.squared_norm import spread_of

SEEN = 4.0  # times its error: the least squared length that a cosine is given of


class Cosine(NamedTuple):
    """A cosine of means, its standard error and the ends of its 95% interval."""

    value: float
    stderr: float
    low: float
    high: float


Numbers = float | np.ndarray
UNKNOWN = Cosine(*[np.nan] * 4)


def cosine_of_means(vectors: np.ndarray, others: np.ndarray) -> Cosine:
    """The cosine of E v to E w, without the noise of either.

    The standard error is the jackknife's, over v and over w: the bias that it finds is
    taken off, which where v varies along E v most is more than the error, and its
    variances add. It is on the safe side where the cosine is 1. An estimate may be
    above 1 by chance.

    Args:
        vectors: independent v, [n, P]; n is at least 4.
        others: independent w, [m, P], or one that is known exactly, [1, P].

    Returns:
        NaN where the noise hides either length: an estimate of a squared length
        is below `SEEN` times its error where the length is as estimated.
    """
    for drawn in (vectors, others):
        if len(drawn) > 1:
            length = spread_of(drawn)
            if not length.estimate > SEEN * length.error:
                return UNKNOWN
    products = vectors @ others.T
    own, of_others = _squared_length(vectors), _squared_length(others)

    def statistics(along: Numbers, squared_length: Numbers) -> np.ndarray:
        length = np.sqrt(squared_length)
        return np.stack([along, length, along / length])

    covariance = np.zeros((3, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = whole = statistics(products.mean(), own[0] * of_others[0])
        sides = (products.mean(1), own, of_others), (products.mean(0), of_others, own)
        for mean, (_, left_out), (other, _) in sides:
            if (n := len(mean)) > 1:
                rest = (mean.sum() - mean) / (n - 1)
                without = statistics(rest, left_out * other)
                covariance += (n - 1) * np.cov(without, bias=True)
                found = found - (n - 1) * (without.mean(1) - whole)
    if not np.isfinite(found.sum() + covariance.sum()):
        return UNKNOWN
    folds = min(len(drawn) for drawn in (vectors, others) if len(drawn) > 1)
    ends = _ratio_interval(found[:2], covariance[:2, :2], stdtrit(folds - 1, 0.975))
    return Cosine(*map(float, (found[2], np.sqrt(covariance[2, 2]), *ends)))


def _ratio_interval(
    parts: np.ndarray, covariance: np.ndarray, q: float
) -> tuple[float, float]:
    """The c for which a - c b, of these parts, is within q standard errors of 0."""
    outer = np.outer(parts, parts) - q**2 * covariance
    if not outer[1, 1] > 0:
        return np.nan, np.nan
    middle = outer[0, 1] / outer[1, 1]
    reach = np.sqrt(np.maximum(middle**2 - outer[0, 0] / outer[1, 1], 0))
    return middle - reach, middle + reach


def _squared_length(vectors: np.ndarray) -> tuple[float, np.ndarray]:
    """||E v||^2 by the products of different v, of all and without each one, [n]."""
    n = len(vectors)
    products = vectors @ vectors.T
    if n == 1:
        return float(products.item()), products[0]
    np.fill_diagonal(products, 0.0)
    rows = products.sum(1)
    without = (rows.sum() - 2 * rows) / ((n - 1) * (n - 2))
    return float(rows.sum() / (n * (n - 1))), without


def alignment(
    products: np.ndarray, squared_norms: np.ndarray, target: np.ndarray
) -> dict[str, float]:
    """How single draws point; products and squared norms are [n, leaves].

    A draw of zeros points nowhere: its cosine and its ratio are 0. The cosine of a
    single parameter is a sign: n equal ones do not say that there is no other, so that
    the error is of two more draws of each sign (Agresti and Coull 1998).
    """
    along, across = along_and_across(products, squared_norms, target)
    nowhere = (along == 0) & (across == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.where(nowhere, 0.0, along / np.hypot(along, across))
        ratio = np.where(nowhere, 0.0, np.abs(along) / across)
        if target.size == 1:
            more, ratio = np.r_[cosine, 1, 1, -1, -1], np.full_like(ratio, np.nan)
        else:
            more = cosine
        return {
            "draw_cosine": float(cosine.mean()),
            "draw_cosine_stderr": _error_of_mean(more),
            "directional_snr": float(ratio.mean()),
            "directional_snr_stderr": _error_of_mean(ratio),
        }


def _error_of_mean(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def along_and_across(
    products: np.ndarray, squared_norms: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every draw's part along the target, signed, and the norm of that across, [n].

    From `Moments.products` and `squared_norms`, [n, leaves]; NaN where the target is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        along = products.sum(1) / np.linalg.norm(target)
    # Of one parameter, what rounding leaves of the difference is nothing.
    several = target.size > 1
    across = np.sqrt(np.maximum(squared_norms.sum(1) - along**2, 0)) * several
    return along, across
