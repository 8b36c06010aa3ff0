"""The use of a codebook, as a perplexity.

    perplexity = exp(-sum_j p_j log p_j)

over the shares p_j of the codes is the number of equally frequent codes of the same
entropy. The perplexity is 1 where all codes but one are dead, and J where all J codes
are equally frequent.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaejax.core import VaejaxError


class CodeUse(NamedTuple):
    """The use of one codebook, or of each of several."""

    shares: Float[np.ndarray, "*books J"]  # p_j, summing to 1
    perplexity: Float[np.ndarray, "*books"]  # from 1 to J
    share_used: Float[np.ndarray, "*books"]  # the share of codes that are ever taken


def code_use(counts: Float[np.ndarray, "*books J"] | np.ndarray) -> CodeUse:
    """The use of a codebook, by the counts or probabilities of its codes.

    Args:
        counts: how often each of J codes is taken, as `numpy.bincount` gives it; or its
            expected number, as the sum of q(z|x) over the examples.

    Raises:
        VaejaxError: a negative count, or a codebook of which no code is taken.
    """
    from scipy.stats import entropy

    counts = np.asarray(counts, float)
    totals = counts.sum(-1, keepdims=True)
    if not ((counts >= 0).all() and (totals > 0).all()):
        raise VaejaxError(
            "every count of codes must be at least 0, and every codebook needs a "
            "count above 0: give the number of times that each code is taken"
        )
    shares = counts / totals
    used = np.asarray((counts > 0).mean(-1))
    return CodeUse(shares, np.asarray(np.exp(entropy(shares, axis=-1))), used)
