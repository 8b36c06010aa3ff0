"""Agreement of clusters with classes that the clustering did not see."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from vaejax.core import check_lengths


class ClusteringScores(NamedTuple):
    """Scores that are 1 where clusters are the classes, whatever their numbers."""

    accuracy: float  # under the best one-to-one map of clusters to classes
    normalized_mutual_information: float  # over the arithmetic mean of the entropies
    adjusted_rand_index: float  # 0 in expectation for random clusters


def clustering_scores(
    labels: Int[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]
) -> ClusteringScores:
    """Accuracy, normalised mutual information and adjusted Rand index.

    Raises:
        VaejaxError: labels and clusters of different lengths.

    References:
        Kuhn 1955 (the assignment); Hubert and Arabie 1985 (the index).
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return ClusteringScores(
        accuracy=clustering_accuracy(labels, clusters),
        normalized_mutual_information=float(
            normalized_mutual_info_score(labels, clusters)
        ),
        adjusted_rand_index=float(adjusted_rand_score(labels, clusters)),
    )


def clustering_accuracy(
    labels: Int[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]
) -> float:
    """max_m 1/N sum_n 1[label_n = m(cluster_n)], m one-to-one.

    Where there are more clusters than classes, images in unmatched clusters are errors.

    Raises:
        VaejaxError: labels and clusters of different lengths.

    References:
        Xie, Girshick and Farhadi 2016, arXiv:1511.06335.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    check_lengths(labels=labels, clusters=clusters)
    counts = contingency_matrix(labels, clusters)
    matched = counts[linear_sum_assignment(counts, maximize=True)]
    return float(matched.sum() / counts.sum())
