"""The squared norm of a mean, without the bias of its noise, and its interval.

From independent v, [n, P], by the products of different ones (a U-statistic),

    U = mean_{i != j} v_i . v_j,
    Var U = (4 (n - 2) zeta_1 + 2 zeta_2) / (n (n - 1)),

with zeta_1 = Var(v_1 . E v) and zeta_2 = Var(v_1 . v_2), both by U-statistics of the
same products (Hoeffding 1948). The error is on the safe side, by up to 40%, where
E v = 0 and few directions vary: zeta_1, 0 there, is estimated at 0 or above.

Without a mean zeta_2 is tr C^2, C = Cov(v), and zeta_1 is 0; a mean m adds m'C m to
the latter, |m|^2 tr C^2 / tr C where it lies as the noise does:

    Var U = noise^2 + growth |m|^2,   noise^2 = 2 tr C^2 / (n (n - 1)),
                                      growth = 4 tr C^2 / (n tr C).

U and its error from the same draws are large together, so that the ends of the
interval are the |m|^2 that U is q of *their* standard errors away from:

    (end - U)^2 = q^2 (noise^2 + growth end),

q Student's t of n - 1 degrees of freedom at 97.5%. At the upper end the growth is the
larger of that above and of (stderr^2 - noise^2) / U, at the lower end the latter, as m
need not lie as the noise does. The square of a signal-to-noise ratio, |m|^2 / tr C,
has its ends from the same equation, with its own standard error, to which that of the
trace adds.

A test at 5% finds U > q stderr, q at 95%; with probability 95% it finds the |m|^2 that
is 2 q of its own standard errors, the root of x^2 = 4 q^2 (noise^2 + growth x). By
simulation it does so somewhat more often, as a U that is small by chance has a small
error.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit


class SquaredNorm(NamedTuple):
    """An estimate of ||E v||^2, with its errors and interval."""

    estimate: float
    stderr: float
    noise: float  # the spread of the estimate where E v = 0
    detectable: float  # the ||E v||^2 that a test would find
    low: float  # ends of the 95% interval
    high: float


class Spread(NamedTuple):
    """U, and the parts of its variance."""

    estimate: float
    variance: float
    noise: float  # the variance where E v = 0
    growth: float  # added by ||E v||^2 = 1 where E v lies as the noise does

    @property
    def error(self) -> float:
        """The standard error where ||E v||^2 is U, on the safe side."""
        planned = self.noise + self.growth * max(self.estimate, 0.0)
        return float(np.sqrt(max(self.variance, planned)))


def squared_norm_of_mean(
    vectors: Float[np.ndarray, "n P"], floor: float = 0.0
) -> SquaredNorm:
    """Unbiased ||E v||^2 from independent v, with its errors and interval.

    Args:
        vectors: v; n is at least 4.
        floor: an error of U besides that of the draws.
    """
    spread = spread_of(vectors, floor)
    once = stdtrit(len(vectors) - 1, 0.95)
    _, detectable = _ends(0.0, 2 * once, spread.noise, spread.growth)
    errors = map(np.sqrt, (spread.variance, spread.noise))
    found = spread.estimate, *errors, detectable, *ends_of(spread, len(vectors))
    return SquaredNorm(*map(float, found))


def spread_of(vectors: Float[np.ndarray, "n P"], floor: float = 0.0) -> Spread:
    """U of independent v; n is at least 4."""
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
    variance = (4 * (n - 2) * zeta_1 + 2 * zeta_2) / pairs + floor**2
    noise = 2 * of_noise / pairs + floor**2
    trace = squared_norms - estimate
    growth = 4 * of_noise / (n * trace) if trace > 0 else 0.0
    return Spread(estimate, variance, noise, growth)


def ends_of(spread: Spread, n: int) -> tuple[float, float]:
    """The ends of the 95% interval from n independent v."""
    estimate, variance, noise, growth = spread
    if not np.isfinite(estimate + variance):  # a ratio without noise
        return np.nan, np.nan
    q = stdtrit(n - 1, 0.975)
    seen = max(variance - noise, 0.0) / estimate if estimate > 0 else 0.0
    # No growth below 0, where the lower end then lies.
    downwards = seen if estimate > q * np.sqrt(noise) else 0.0
    low, _ = _ends(estimate, q, noise, downwards)
    _, high = _ends(estimate, q, noise, max(growth, seen))
    return low, high


def _ends(
    estimate: float, q: float, noise: float, growth: float
) -> tuple[float, float]:
    """The roots of (end - U)^2 = q^2 (noise + growth end), where noise is a square."""
    half = q**2 * growth / 2
    reach = np.sqrt(max(q**2 * (noise + growth * estimate) + half**2, 0.0))
    return estimate + half - reach, estimate + half + reach
