"""Gradient statistics along training: the same measurement at every checkpoint."""

from collections.abc import Sequence

from vaejax.benchmark.rows import Row
from vaejax.benchmark.statistics import number
from vaejax.plotting.gradients import curves, in_words
from vaejax.plotting.style import Picture, PlottingError, styled


@styled
def replay_curves(
    rows: Sequence[Row], statistic: str, group: str | None = None
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
    most = max(row.cell.num_samples for row in rows)
    rows = [row for row in rows if row.cell.num_samples == most]
    figure = curves(rows, statistic, group, "step")
    figure.set_label(
        f"The {in_words(statistic)} of the gradient estimators at K = {most} "
        "along training, with 95% intervals."
    )
    return figure
