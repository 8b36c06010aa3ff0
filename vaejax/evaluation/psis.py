"""The Pareto shape k of importance weights: a diagnostic of their mean.

The tail of the weights is fitted by a generalised Pareto distribution of shape k, which
has finite moments up to order 1/k: below 0.5 the variance of the weights is finite,
above 0.7 the estimate is unreliable at any practical sample size.

Source: Vehtari et al. 2024, arXiv:1507.02646; the fit is Zhang and Stephens 2009.
"""

import math

import numpy as np
from jaxtyping import Float


def tail_size(num_samples: int) -> int:
    """The number of S weights that count as the tail: min(S / 5, 3 sqrt(S))."""
    return math.ceil(min(0.2 * num_samples, 3 * math.sqrt(num_samples)))


def pareto_shapes(
    log_tails: Float[np.ndarray, "N M_plus_1"],
) -> Float[np.ndarray, " N"]:
    """Pareto k of the M largest weights over the next one, from falling log-weights.

    The fit is in float64, as tails may span hundreds of nats. k is NaN where the tail
    holds fewer than five weights; infinite where three quarters of the tail are
    negligible beside the largest weight; 0 where the weights agree to one part in a
    thousand, as with an exact posterior: their differences are rounding, no tail.
    """
    size = log_tails.shape[1] - 1
    if size < 5:
        return np.full(len(log_tails), np.nan)
    log_tails = np.asarray(log_tails, np.float64)
    weights = np.exp(log_tails - log_tails[:, :1])
    exceedances = (weights[:, :-1] - weights[:, -1:])[:, ::-1]  # in rising order
    quartile = exceedances[:, int(size / 4 + 0.5) - 1]
    largest = exceedances[:, -1]
    flat, heavy = largest < 1e-3, quartile < np.finfo(np.float64).tiny
    num_grid = 30 + math.isqrt(size)
    grid = 1 - np.sqrt(num_grid / (np.arange(1, num_grid + 1) - 0.5))
    with np.errstate(all="ignore"):  # flat and heavy tails are replaced below
        theta = grid / (3 * quartile[:, None]) + 1 / largest[:, None]
        shapes = _shape_at(theta, exceedances)
        profile = size * (np.log(-theta / shapes) - shapes - 1)
        chances = np.exp(profile - profile.max(1, keepdims=True))
        theta_mean = (chances * theta).sum(1) / chances.sum(1)
        shape = _shape_at(theta_mean[:, None], exceedances)[:, 0]
    # The weakly informative prior of Vehtari et al. (appendix C): ten draws at 1/2.
    shape = (size * shape + 10 * 0.5) / (size + 10)
    return np.where(flat, 0.0, np.where(heavy, np.inf, shape))


def _shape_at(
    theta: Float[np.ndarray, "N G"], exceedances: Float[np.ndarray, "N M"]
) -> Float[np.ndarray, "N G"]:
    return np.log1p(-theta[:, :, None] * exceedances[:, None]).mean(-1)
