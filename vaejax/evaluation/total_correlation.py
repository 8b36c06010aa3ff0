"""How far the coordinates of codes are from independent: a bound by a classifier."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from vaejax.core import VaejaxError, check_finite

FEWEST = 40  # codes: a tenth of half of them tells when the classifier is to stop


class TotalCorrelation(NamedTuple):
    """A lower bound in nats, and its Monte Carlo standard error."""

    value: float
    standard_error: float


def total_correlation_bound(
    codes: Float[np.ndarray, "N D"], *, seed: int = 0, num_shuffles: int = 10
) -> TotalCorrelation:
    """A lower bound on TC(q) = KL(q(z) || prod_j q(z_j)), of which codes are drawn.

        TC(q) >= E_q T(z) - log E_{prod_j q(z_j)} exp T(z)

    (Donsker and Varadhan 1983), with equality at T(z) = log q(z) / prod_j q(z_j). T is
    the log odds of a classifier that tells half of the codes from the same with every
    coordinate shuffled, as FactorVAE's discriminator does; the expectations are over
    the other half. A high rate does not raise it, as it raises that of `elbo_surgery`.

    Args:
        codes: one z ~ q(z) a row, of independent draws.
        seed: of the halves, the shuffles and the classifier.
        num_shuffles: of the other half.

    Raises:
        VaejaxError: fewer than 40 codes, or a single coordinate.

    References:
        Kim and Mnih 2018, arXiv:1802.05983, for the shuffled codes.
    """
    from sklearn.neural_network import MLPClassifier

    if len(codes) < FEWEST or codes.shape[1] < 2:
        raise VaejaxError(
            f"total_correlation_bound takes {FEWEST} codes or more, in 2 dimensions or "
            f"more, and these are {codes.shape}: use more"
        )
    check_finite(codes=codes)
    rng = np.random.default_rng(seed)
    scaled = (codes - codes.mean(0)) / codes.std(0)
    seen, held_out = np.array_split(rng.permutation(scaled), 2)
    classifier = MLPClassifier((200, 200), early_stopping=True, random_state=seed)
    both = np.concatenate([seen, _shuffled(seen, rng)])
    classifier.fit(both, np.repeat([1, 0], len(seen)))

    def log_odds(z: Float[np.ndarray, "M D"]) -> Float[np.ndarray, " M"]:
        log_probs = classifier.predict_log_proba(z)
        return log_probs[:, 1] - log_probs[:, 0]

    joint = log_odds(held_out)
    apart = [log_odds(_shuffled(held_out, rng)) for _ in range(num_shuffles)]
    log_means = logsumexp(apart, axis=1) - np.log(len(held_out))
    variance = joint.var() / len(joint) + log_means.var() / num_shuffles
    total = logsumexp(np.concatenate(apart)) - np.log(len(held_out) * num_shuffles)
    return TotalCorrelation(float(joint.mean() - total), float(np.sqrt(variance)))


def _shuffled(
    z: Float[np.ndarray, "N D"], rng: np.random.Generator
) -> Float[np.ndarray, "N D"]:
    return rng.permuted(z, axis=0)
