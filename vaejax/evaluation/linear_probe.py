"""The linear probe: the accuracy of a linear classifier on a representation."""

import numpy as np
from jaxtyping import Float, Int

from vaejax.core import VaejaxError, check_finite, check_lengths


def linear_probe(
    train_codes: Float[np.ndarray, "N Z"],
    train_labels: Int[np.ndarray, " N"],
    test_codes: Float[np.ndarray, "M Z"],
    test_labels: Int[np.ndarray, " M"],
) -> float:
    """The test accuracy of logistic regression on frozen codes, each standardised.

    Raises:
        VaejaxError: codes and labels of different lengths, codes that are not finite,
            or a single class to learn from.

    References:
        Alain and Bengio 2017, arXiv:1610.01644.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_lengths(train_codes=train_codes, train_labels=train_labels)
    check_lengths(test_codes=test_codes, test_labels=test_labels)
    check_finite(train_codes=train_codes, test_codes=test_codes)
    if len(np.unique(train_labels)) < 2:
        raise VaejaxError(
            "the labels are of one class only: use labels of two classes or more"
        )
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return float(probe.fit(train_codes, train_labels).score(test_codes, test_labels))
