"""Gradients whose statistics are known, and those that follow from two moments."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vaejax.core import Batch, Objective, Params


class Regime(NamedTuple):
    """Gradients of the encoder's parameters, and their true statistics."""

    kind: str
    name: str
    draws: int
    objective: Objective
    params: Params
    batch: Batch
    target: np.ndarray  # g*, flat
    truths: dict[str, float]  # keyed as in `GroupReport`
    reference: Objective | None = None  # draws the reference


Maker = Callable[[int], Regime]  # takes the number of draws


def of_moments(
    mean: np.ndarray, variances: np.ndarray, target: np.ndarray
) -> dict[str, float]:
    """The statistics that follow from the mean and the variances."""
    error, trace = mean - target, variances.sum()
    found = {
        "bias_squared": error @ error,
        "variance": trace,
        "snr": np.mean(np.abs(mean) / np.sqrt(variances)),
        "rms_snr": np.sqrt(np.mean(mean**2 / variances)),
        "norm_snr": np.sqrt(mean @ mean / trace),
    }
    if mean.size > 1:  # one number has a sign, and no direction
        lengths = np.sqrt((mean @ mean) * (target @ target))
        found["cosine"] = mean @ target / lengths
    return found
