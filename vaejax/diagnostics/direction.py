"""Where gradients point: the mean of the draws, and single ones, to a reference.

The mean of n draws is longer than E g by its noise, ||mean g||^2 ~ ||E g||^2 +
tr Cov(g) / n, and a drawn reference longer than g*, so that the cosine of the two is
too small, the more so the fewer the draws. From independent folds the squared lengths
are had without the noise, by the products of different folds (a U-statistic):

    cosine = <mean g, mean g*> / sqrt(U_g U_g*),    U_v = mean_{i != j} v_i . v_j
"""

import numpy as np


def cosine_of_means(vectors: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """The cosine of E v to E w, without the noise of either, and its standard error.

    The jackknife's, over v and over w: what it says of the bias is taken off, which
    where v varies along E v most is more than the error, and its variances add. The
    error is on the safe side where the cosine is 1. An estimate may be above 1 by
    chance.

    Args:
        vectors: independent v, [n, P]; n is at least 3.
        others: independent w, [m, P], or one that is known exactly, [1, P].

    Returns:
        NaN twice where the noise hides either length: an estimate of a squared length,
        of all or without one of the vectors, is not above 0.
    """
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
    hidden = any(min(whole, *left_out) <= 0 for whole, left_out in (own, of_others))
    if hidden or not np.isfinite(cosine + variance):
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

    A draw of zeros points nowhere: its cosine and its ratio are 0.
    """
    along, across = along_and_across(products, squared_norms, target)
    nowhere = (along == 0) & (across == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.where(nowhere, 0.0, along / np.hypot(along, across))
        ratio = np.where(nowhere, 0.0, np.abs(along) / across)
        found = {}
        for name, values in (("draw_cosine", cosine), ("directional_snr", ratio)):
            found[name] = float(values.mean())
            error = values.std(ddof=1) / np.sqrt(len(values))
            found[f"{name}_stderr"] = float(error)
    return found


def along_and_across(
    products: np.ndarray, squared_norms: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every draw's part along the target, signed, and the norm of that across, [n].

    From `Moments.products` and `squared_norms`, [n, leaves]; NaN where the target is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        along = products.sum(1) / np.linalg.norm(target)
    across = np.sqrt(np.maximum(squared_norms.sum(1) - along**2, 0))
    return along, across
