"""The area under the ROC curve: how well a score separates anomalies."""

import numpy as np
from jaxtyping import Float

from vaejax.core import VaejaxError


def auroc(
    normal_scores: Float[np.ndarray, " N"], anomaly_scores: Float[np.ndarray, " M"]
) -> float:
    """P(an anomaly scores higher than a normal example) + 1/2 P(they score the same).

    1/2 is chance; below 1/2 the score ranks anomalies as the more normal.

    Raises:
        VaejaxError: no scores of either kind, or NaN among them.

    References:
        Hanley and McNeil 1982.
    """
    from sklearn.metrics import roc_auc_score

    scores = np.concatenate([normal_scores, anomaly_scores])
    if not (len(normal_scores) and len(anomaly_scores)) or np.isnan(scores).any():
        raise VaejaxError(
            f"auroc compares {len(normal_scores)} normal with {len(anomaly_scores)} "
            f"anomalous scores, {np.isnan(scores).sum()} of them NaN: give at least "
            "one score of each kind, and no NaN"
        )
    is_anomaly = np.repeat([0, 1], [len(normal_scores), len(anomaly_scores)])
    # Ranks, because scikit-learn refuses infinite scores.
    ranks = np.unique(scores, return_inverse=True)[1]
    return float(roc_auc_score(is_anomaly, ranks))
