"""The directions of the mean of the draws, and of single draws, to a reference.

The mean of n draws is longer than E g by its noise, ||mean g||^2 ~ ||E g||^2 +
tr Cov(g) / n, and a drawn reference longer than g*, so that the cosine of the two is
too small, the more so the fewer the draws. Independent folds give the squared lengths
without the noise, by the products of different folds (a U-statistic):

    cosine = <mean g, mean g*> / sqrt(U_g U_g*),    U_v = mean_{i != j} v_i . v_j

Where U is of the size of its error, so is the divisor, and no correction of the ratio
has a bound: where noise has one main direction, along which the mean lies, the error of
U grows with the mean. From `SEEN` times the error at U on, this growth included, the
correction is small. The interval is Fieller's (1954, JRSS B 16, 175): for a mean that
is long by chance the error of the ratio is small, that of

    <mean g, mean g*> - c sqrt(U_g U_g*)

hardly less, and the ends are the c that put this difference t standard errors from 0.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from vaejax.benchmark.squared_norm import spread_of

SEEN = 4.0  # least squared length for a cosine, in standard errors


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

    The standard error is the jackknife's, over v and over w, whose variances add. The
    jackknife's bias is subtracted; it exceeds the error where v varies along E v most.
    The error is on the safe side where the cosine is 1. An estimate may be above 1 by
    chance.

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
    """The interval of c for which a - c b is within q standard errors of 0."""
    outer = np.outer(parts, parts) - q**2 * covariance
    if not outer[1, 1] > 0:
        return np.nan, np.nan
    middle = outer[0, 1] / outer[1, 1]
    reach = np.sqrt(np.maximum(middle**2 - outer[0, 0] / outer[1, 1], 0))
    return middle - reach, middle + reach


def _squared_length(vectors: np.ndarray) -> tuple[float, np.ndarray]:
    """||E v||^2 by the products of different v: of all v, and without each v, [n]."""
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
    """The directions of single draws; products and squared norms are [n, leaves].

    A draw of zeros points nowhere: its cosine and its ratio are 0. The cosine of a
    single parameter is a sign: n equal signs do not exclude the other sign, so that
    the error is that with two more draws of each sign (Agresti and Coull 1998).
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
    """Every draw's signed part along the target and the norm of its part across, [n].

    Inputs are `Moments.products` and `squared_norms`, [n, leaves]; a target of 0 gives
    NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        along = products.sum(1) / np.linalg.norm(target)
    # For one parameter, the difference is rounding alone, and is set to 0.
    several = target.size > 1
    across = np.sqrt(np.maximum(squared_norms.sum(1) - along**2, 0)) * several
    return along, across
