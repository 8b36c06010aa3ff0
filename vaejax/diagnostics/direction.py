"""Where gradients point: the mean of the draws, and single ones, to a reference.

The mean of n draws is longer than E g by its noise, ||mean g||^2 ~ ||E g||^2 +
tr Cov(g) / n, and a drawn reference longer than g*, so that the cosine of the two is
too small, the more so the fewer the draws. From independent folds the squared lengths
are had without the noise, by the products of different folds (a U-statistic):

    cosine = <mean g, mean g*> / sqrt(U_g U_g*),    U_v = mean_{i != j} v_i . v_j

Where U is of the size of its noise, so is what the root divides by, and no correction
of the ratio has a bound. From `SEEN` times the noise on it is small.
"""

import numpy as np

from vaejax.diagnostics.squared_norm import squared_norm_of_mean

SEEN = 3.0  # times its noise: the least squared length that a cosine is given of


def cosine_of_means(vectors: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """The cosine of E v to E w, without the noise of either, and its standard error.

    The jackknife's, over v and over w: what it says of the bias is taken off, which
    where v varies along E v most is more than the error, and its variances add. The
    error is on the safe side where the cosine is 1. An estimate may be above 1 by
    chance.

    Args:
        vectors: independent v, [n, P]; n is at least 4.
        others: independent w, [m, P], or one that is known exactly, [1, P].

    Returns:
        NaN twice where the noise hides either length: an estimate of a squared length
        is below `SEEN` times its spread where there is none.
    """
    for drawn in (vectors, others):
        if len(drawn) > 1:
            length = squared_norm_of_mean(drawn)
            if not length.estimate > SEEN * length.noise:
                return np.nan, np.nan
    products = vectors @ others.T
    own, of_others = _squared_length(vectors), _squared_length(others)
    variance = excess = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = products.mean() / np.sqrt(own[0] * of_others[0])
        sides = (products.mean(1), own, of_others), (products.mean(0), of_others, own)
        for mean, (_, left_out), (whole, _) in sides:
            if (n := len(mean)) > 1:
                without = (mean.sum() - mean) / (n - 1) / np.sqrt(left_out * whole)
                variance += (n - 1) * np.var(without)
                excess += (n - 1) * (without.mean() - cosine)
    if not np.isfinite(cosine + variance):
        return np.nan, np.nan
    return float(cosine - excess), float(np.sqrt(variance))


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
