"""A two-sample test of whether two sets of points have one distribution.

    MMD^2 = E k(a, a') + E k(b, b') - 2 E k(a, b),   k(u, v) = exp(-|u - v|^2 / (2 s^2))

as a U-statistic, which is unbiased and may be negative; s is the median distance of all
pairs of points. Under the hypothesis the points are exchangeable, so that the statistic
is compared with its values under random permutations: such a p-value is valid at any
sample size.

Source: Gretton et al. 2012, "A kernel two-sample test", JMLR 13.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from vaejax.core import VaejaxError, check_finite

PERMUTATIONS_PER_PRODUCT = 100


class TwoSampleTest(NamedTuple):
    """The statistic, and its p-value under random permutations."""

    squared_mmd: float
    p_value: float  # at least 1 / (1 + num_permutations)
    bandwidth: float  # s


def mmd_test(
    first: Float[np.ndarray, "N D"],
    second: Float[np.ndarray, "M D"],
    *,
    num_permutations: int = 999,
    seed: int = 0,
) -> TwoSampleTest:
    """Test by the MMD that both samples have one distribution.

    The points must be independent: for an aggregated posterior, one z per x. Memory
    is 8 (N + M)^2 bytes.

    Args:
        first: two points or more.
        second: two points or more.
        num_permutations: that the statistic is compared with.
        seed: of the permutations.

    Raises:
        VaejaxError: a sample of one point, or half of all pairs at the same place.
    """
    from scipy.spatial.distance import pdist, squareform

    sizes = len(first), len(second)
    if min(*sizes, num_permutations + 1) < 2:
        raise VaejaxError(
            f"cannot compare {sizes[0]} points with {sizes[1]} by {num_permutations} "
            "permutations: use two points or more of each, and a permutation or more"
        )
    check_finite(first=first, second=second)
    distances = pdist(np.concatenate([first, second]).astype(float))
    bandwidth = float(np.median(distances))
    if not 0 < bandwidth < np.inf:
        raise VaejaxError(
            f"the median distance of all points is {bandwidth}: use finite points, "
            "most of them different"
        )
    # The diagonal is 0, because a U-statistic leaves the diagonal out.
    kernel = squareform(np.exp(-0.5 * (distances / bandwidth) ** 2))
    in_first = np.arange(sum(sizes)) < sizes[0]
    (observed,) = _squared_mmd(kernel, in_first[None])
    rng = np.random.default_rng(seed)
    as_large = 0
    for start in range(0, num_permutations, PERMUTATIONS_PER_PRODUCT):
        count = min(PERMUTATIONS_PER_PRODUCT, num_permutations - start)
        permuted = rng.permuted(np.tile(in_first, (count, 1)), axis=1)
        as_large += int((_squared_mmd(kernel, permuted) >= observed).sum())
    p_value = (1 + as_large) / (1 + num_permutations)
    return TwoSampleTest(float(observed), p_value, bandwidth)


def _squared_mmd(
    kernel: Float[np.ndarray, "T T"], in_first: Bool[np.ndarray, "P T"]
) -> Float[np.ndarray, " P"]:
    """The U-statistic of every division of the points; the kernel's diagonal is 0."""
    sides = in_first.astype(float)
    n = int(in_first[0].sum())
    m = len(kernel) - n
    within_first = ((sides @ kernel) * sides).sum(1)
    across = sides @ kernel.sum(1) - within_first
    within_second = kernel.sum() - within_first - 2 * across
    return (
        within_first / (n * (n - 1))
        + within_second / (m * (m - 1))
        - 2 * across / (n * m)
    )
