"""Disentanglement scores of codes whose factors of variation are known.

Each score compares every latent with every factor over one set of examples; higher is
better. Mutual information, I, in nats, is between a factor and a latent cut into 20
intervals of equal width. Its estimate is at most log 20, and for independent latents
not 0 but about (20 - 1)(S - 1) / (2 N), for a factor of S values and N examples.

The scores that draw groups of examples with a factor in common are in
`vaejax.evaluation.shared_factor`. No score is comparable with scores from other
factors, data or settings (Locatello et al. 2019, arXiv:1811.12359).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vaejax.core import VaejaxError, check_finite

BINS = 20


def mutual_information_gap(
    codes: Float[np.ndarray, "N Z"], factors: Int[np.ndarray, "N F"]
) -> float:
    """MIG: the gap in information on a factor between the two best latents.

        mean_k (I(z_i; v_k) - max_{j != i} I(z_j; v_k)) / H(v_k),   i = argmax_j I

    A factor of S > 20 equally frequent values adds at most log 20 / log S, not 1.

    References:
        Chen et al. 2018, arXiv:1802.04942, section 4.1.
    """
    from scipy.stats import entropy

    check_factors(codes, factors)
    entropies = [
        entropy(np.unique(column, return_counts=True)[1]) for column in factors.T
    ]
    information = _mutual_information(codes, factors)
    return float(np.mean(_gap(information) / np.array(entropies)))


def separated_attribute_predictability(
    codes: Float[np.ndarray, "N Z"], factors: Int[np.ndarray, "N F"]
) -> float:
    """SAP: the gap in accuracy on a factor between the two best latents.

    A latent predicts a factor of S values by S - 1 thresholds, fitted to the same
    examples; the prediction is scored by its balanced accuracy. With two latents
    or more the score is at most the mean of 1 - 1/S over factors of S values.

    References:
        Kumar, Sattigeri and Balakrishnan 2018, arXiv:1711.00848; all factors are taken
        as categories.
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    check_factors(codes, factors)

    def score(code: np.ndarray, factor: np.ndarray) -> float:
        thresholds = DecisionTreeClassifier(
            max_leaf_nodes=len(np.unique(factor)),
            class_weight="balanced",
            random_state=0,
        )
        predicted = thresholds.fit(code[:, None], factor).predict(code[:, None])
        return balanced_accuracy_score(factor, predicted)

    scores = [[score(code, factor) for factor in factors.T] for code in codes.T]
    return float(np.mean(_gap(np.array(scores))))


def modularity(
    codes: Float[np.ndarray, "N Z"], factors: Int[np.ndarray, "N F"]
) -> float:
    """The degree to which every latent holds information on one factor only.

        mean_i 1 - sum_{k != k_i} I(z_i; v_k)^2 / ((F - 1) I(z_i; v_{k_i})^2)

    with k_i the factor on which latent i holds most information. A latent that does not
    vary counts as 0; a latent independent of all factors does not, as the bias of I
    depends on the factor: the score does not measure how much the latents hold.

    Raises:
        VaejaxError: a single factor, which there is nothing to confuse with.

    References:
        Ridgeway and Mozer 2018, arXiv:1802.05312.
    """
    check_factors(codes, factors)
    if factors.shape[1] < 2:
        raise VaejaxError(
            "modularity compares factors, and there is only one: use two or more"
        )
    squares = _mutual_information(codes, factors) ** 2
    largest = squares.max(1)
    known = largest > 0
    others = squares.sum(1) - largest
    confusion = others[known] / (largest[known] * (factors.shape[1] - 1))
    return float((1 - confusion).sum() / len(known))


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness."""

    disentanglement: float  # 1: every important latent is so for one factor only
    completeness: float  # 1: every factor is predicted by one latent only
    informativeness: float  # mean balanced accuracy on the examples held out
    importance: Float[np.ndarray, "Z F"]  # R, latents by factors; columns sum to 1


def dci(
    codes: Float[np.ndarray, "N Z"],
    factors: Int[np.ndarray, "N F"],
    *,
    num_trees: int = 10,
    seed: int = 0,
) -> DCI:
    """DCI, by the importance R of every latent for each factor in random forests.

        disentanglement  sum_i rho_i (1 - H_F(R_i. / sum)),   rho_i = sum_k R_ik / sum R
        completeness     mean_k (1 - H_Z(R_.k / sum))

    with entropies to the base F, the number of factors, and Z, that of latents. Every
    split of a tree may use any latent. The forests learn from half of the examples.

    Args:
        codes: one or more latents.
        factors: two factors or more.
        num_trees: of each factor's forest.
        seed: of the halves and the forests.

    References:
        Eastwood and Williams 2018, "A framework for the quantitative evaluation of
        disentangled representations".
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import train_test_split

    check_factors(codes, factors)
    halves = train_test_split(codes, factors, test_size=0.5, random_state=seed)
    train_codes, test_codes, train_factors, test_factors = halves
    columns, accuracies = [], []
    for train, test in zip(train_factors.T, test_factors.T, strict=True):
        forest = RandomForestClassifier(
            num_trees, max_features=None, min_samples_leaf=5, random_state=seed
        )
        forest.fit(train_codes, train)
        columns.append(forest.feature_importances_)
        accuracies.append(balanced_accuracy_score(test, forest.predict(test_codes)))
    importance = np.stack(columns, 1)
    share = importance.sum(1) / importance.sum()
    return DCI(
        disentanglement=float(share @ _concentration(importance)),
        completeness=float(_concentration(importance.T).mean()),
        informativeness=float(np.mean(accuracies)),
        importance=importance,
    )


def check_factors(codes: np.ndarray, factors: np.ndarray) -> None:
    """Raise a `VaejaxError` for codes and factors that cannot be compared."""
    if len(codes) != len(factors):
        raise VaejaxError(
            f"there are {len(codes)} codes and {len(factors)} rows of factors: use one "
            "of each for every example"
        )
    check_finite(codes=codes, factors=factors)
    constant = np.flatnonzero((factors == factors[:1]).all(0))
    if constant.size:
        raise VaejaxError(
            f"factors {constant.tolist()} are the same in all {len(factors)} examples: "
            "leave them out, or use more examples"
        )


def _gap(scores: Float[np.ndarray, "Z F"]) -> Float[np.ndarray, " F"]:
    """The gap of the two largest values of every column; the second is 0 if Z = 1."""
    ordered = np.sort(np.pad(scores, ((1, 0), (0, 0))), axis=0)
    return ordered[-1] - ordered[-2]


def _mutual_information(
    codes: Float[np.ndarray, "N Z"], factors: Int[np.ndarray, "N F"]
) -> Float[np.ndarray, "Z F"]:
    from sklearn.metrics import mutual_info_score

    cut = [
        np.digitize(code, np.histogram_bin_edges(code, BINS)[1:-1]) for code in codes.T
    ]
    return np.array([[mutual_info_score(f, code) for f in factors.T] for code in cut])


def _concentration(importance: Float[np.ndarray, "R C"]) -> Float[np.ndarray, " R"]:
    """1 less the entropy of every row's shares, to the base of the column count."""
    from scipy.stats import entropy

    rows, columns = importance.shape
    if columns == 1:
        return np.ones(rows)
    used = importance.sum(1) > 0
    result = np.zeros(rows)
    result[used] = 1 - entropy(importance[used], base=columns, axis=1)
    return result
