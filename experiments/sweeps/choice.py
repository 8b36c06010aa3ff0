"""The settings that the validation split chooses: the test split chooses none."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from experiments.sweeps.figure import by_settings

OF_TRAININGS = "train.chosen.out_of"  # a column of trainings alone
OF_BOUND = {"bound", "bound_settings", "num_samples", "kl_weight"}
OF_DATA = {"dataset", "protocol"}


def best_by_validation(rows: Sequence[dict[str, Any]], varied: Sequence[str]) -> str:
    """The sentence that names the best settings on the validation split.

    Settings are compared by the mean over their seeds of the bound, or of the ELBO
    where the grid varies what the bound is. The sentence is empty for other experiments
    than trainings, and where the grid varies the data.

    Args:
        rows: one for each trial, as in results.csv.
        varied: the settings in the grid.
    """
    if OF_DATA & set(varied) or not by_settings(rows, varied, OF_TRAININGS):
        return ""
    name = "elbo" if OF_BOUND & set(varied) else "bound"
    column = f"train.chosen.validation.{name}"
    means = {
        settings: fmean(row[column] for row in alike)
        for settings, alike in by_settings(rows, varied, column).items()
    }
    if not means:
        return (
            "no trial has a validation split to be chosen by: add select=validation to "
            "--settings"
        )
    best = max(means, key=lambda settings: means[settings])
    return f"highest validation {name}: {means[best]:.6g}, by {best}"
