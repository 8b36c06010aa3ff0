"""Gradient statistics along training: the same measurement at every checkpoint."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from vaejax.benchmark.statistics import Line, distinct, interval, number, values_of
from vaejax.plotting.gradients import curves, in_words
from vaejax.plotting.style import QUIET, Picture, PlottingError, signed_log, styled

DECADES = 5  # the most decades beyond the linear zone


@styled
def replay_curves(
    rows: Sequence[Line], statistic: str, group: str | None = None
) -> Picture:
    """A statistic of the gradient against the training step, a line per estimator.

    The panels, bands and marks are those of `gradient_statistic`. A bias, debiased and
    so of either sign, is on an axis that is linear within the smallest interval.

    Args:
        rows: cells of the benchmark at several checkpoints; those of no step, and of
            fewer importance samples than the most, are left out.
        statistic: a key of `gradients.STATISTICS`.
        group: the parameter group to draw; by default every one.

    Raises:
        PlottingError: an unknown statistic or group, or no row of a checkpoint.
    """
    rows = [row for row in rows if number(row.get("step")) >= 0]
    if not rows:
        raise PlottingError("no row has a step: measure the gradients at checkpoints")
    most = max(int(row["num_samples"]) for row in rows)
    rows = [row for row in rows if int(row["num_samples"]) == most]
    figure = curves(rows, statistic, group, "step")
    if statistic == "bias_squared":
        measured = [row for row in rows if row["status"] != "refused"]
        names = distinct(row["group"] for row in measured)
        drawn = [panel for panel in figure.axes if panel.axison]
        for i, panel in enumerate(drawn):
            shown = names[i % len(names)] if group is None else group
            _bias_axis(panel, [row for row in measured if row["group"] == shown])
    figure.set_label(
        f"The {in_words(statistic)} of the gradient estimators at K = {most} "
        "along training, with 95% intervals."
    )
    return figure


def _bias_axis(axes: Axes, rows: Sequence[Line]) -> None:
    low, high = interval(rows, "bias_squared")
    half = high - values_of(rows, "bias_squared")
    ends = np.maximum(np.abs(low), np.abs(high))
    half, ends = half[np.isfinite(ends)], ends[np.isfinite(ends)]
    reach = ends.max(initial=0)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    if reach > 0:
        linear = max(half[half > 0].min(initial=reach), reach * 10.0**-DECADES)
        signed_log(axes, "y", linear, reach)
