"""A lower bound on the total correlation of codes, by a classifier."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from vaejax.core import VaejaxError, check_finite

# With half of so many codes held out and so many shuffles, 95% intervals for normals
# cover the truth in more than 90%; with 20 held-out codes and 2 shuffles, in 85%.
FEWEST, FEWEST_SHUFFLES = 200, 5


class TotalCorrelation(NamedTuple):
    """A bound by one classifier, in nats, and its standard error over held-out codes.

    The error is about this classifier's bound on all of q(z), which is at most TC(q):
    it excludes the gap to TC(q) and the spread over classifiers. The error is too small
    where exp T has heavy tails under the shuffled codes, as a few large values, most of
    which are not drawn, then make up the mean of exp T.
    """

    value: float
    standard_error: float


def total_correlation_bound(
    codes: Float[np.ndarray, "N D"], *, seed: int = 0, num_shuffles: int = 10
) -> TotalCorrelation:
    """A lower bound on TC(q) = KL(q(z) || prod_j q(z_j)), from codes drawn from q.

        TC(q) >= E_q T(z) - log E_{prod_j q(z_j)} exp T(z)

    (Donsker and Varadhan 1983), with equality at T(z) = log q(z) / prod_j q(z_j). T is
    the log odds of a classifier that separates half of the codes from the same codes
    with every coordinate shuffled, as FactorVAE's discriminator does; the expectations
    are over the other half. A high rate does not raise the bound, unlike that of
    `elbo_surgery`.

    Args:
        codes: one z ~ q(z) a row, of independent draws.
        seed: of the halves, the shuffles and the classifier.
        num_shuffles: of the other half, 5 or more.

    Raises:
        VaejaxError: fewer than 200 codes or 5 shuffles, or a single coordinate.

    References:
        Kim and Mnih 2018, arXiv:1802.05983, for the shuffled codes.
    """
    from sklearn.neural_network import MLPClassifier

    check_finite(codes=codes)
    if len(codes) < FEWEST or codes.shape[1] < 2:
        raise VaejaxError(
            f"total_correlation_bound takes {FEWEST} codes or more, in 2 dimensions "
            f"or more, and was given codes of shape {codes.shape}: use more"
        )
    if num_shuffles < FEWEST_SHUFFLES:
        raise VaejaxError(
            f"num_shuffles is {num_shuffles}: use at least {FEWEST_SHUFFLES}, for the "
            "error"
        )
    rng = np.random.default_rng(seed)
    scaled = (codes - codes.mean(0)) / codes.std(0)
    seen, held_out = np.array_split(rng.permutation(scaled), 2)
    classifier = MLPClassifier((200, 200), early_stopping=True, random_state=seed)
    both = np.concatenate([seen, rng.permuted(seen, axis=0)])
    classifier.fit(both, np.repeat([1, 0], len(seen)))

    def log_odds(z: Float[np.ndarray, "M D"]) -> Float[np.ndarray, " M"]:
        log_probs = classifier.predict_log_proba(z)
        return log_probs[:, 1] - log_probs[:, 0]

    return donsker_varadhan(log_odds, held_out, rng, num_shuffles)


def donsker_varadhan(
    log_ratio: Callable[[Float[np.ndarray, "M D"]], Float[np.ndarray, " M"]],
    codes: Float[np.ndarray, "N D"],
    rng: np.random.Generator,
    num_shuffles: int,
) -> TotalCorrelation:
    """`E_q T - log E_{prod_j q(z_j)} exp T` of a given T, from codes held out from T.

    All shuffles are of the same codes, so that the codes are the sampling unit. A code
    moves the bound, to first order, by its own T and by every shuffled row that one of
    its coordinates is in,

        psi_n = T(z_n) - sum_j (E[exp T | z_j = z_nj] / E exp T - 1),

    each expectation a mean over the shuffles. The variance is that of psi over N, less
    the part due to the random shuffles, plus the shuffles' own variance, estimated
    from the shuffles' means.
    """
    count, width = codes.shape
    rows = np.tile(np.arange(count)[:, None], (num_shuffles, 1, width))
    rows = rng.permuted(rows, axis=1)
    shuffled = np.take_along_axis(codes[None], rows, axis=1)
    joint = log_ratio(codes)
    apart = log_ratio(shuffled.reshape(-1, width)).reshape(num_shuffles, count)
    log_mean = logsumexp(apart) - np.log(apart.size)
    weights = np.exp(apart - log_mean)  # normalised to mean 1
    share = np.empty(rows.shape)
    np.put_along_axis(share, rows, weights[..., None], axis=1)
    share = share.sum(-1)  # by shuffle and code
    spread = (joint - share.mean(0)).var(ddof=1)
    chance = share.var(0, ddof=1).mean() / num_shuffles
    of_shuffles = weights.mean(1).var(ddof=1) / num_shuffles
    variance = max(spread - chance, 0) / count + of_shuffles
    return TotalCorrelation(float(joint.mean() - log_mean), float(np.sqrt(variance)))
