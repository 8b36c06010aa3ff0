"""Measured signal-to-noise ratios and the laws that they are held against."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vaejax.plotting.gradients import distinct
from vaejax.plotting.style import (
    LINES,
    QUIET,
    WIDTH,
    Picture,
    PlottingError,
    Row,
    number,
    panels,
    require_rows,
    series,
    styled,
)

AXES = {"num_samples": "importance samples $K$", "num_outer": "estimates averaged $M$"}


@styled
def scaling_laws(rows: Sequence[Row], slopes: Sequence[Row], axis: str) -> Picture:
    """The signal-to-noise ratio against K or M, a panel per parameter group.

    Bands are 95% confidence; hollow points are not in the fit. A dashed line has the
    slope of theory, at the height of the fitted points. Dotted is the ratio of the
    draws' own mean, which bends to the noise floor.

    Args:
        rows: the points of one curve per estimator and group, of `results.csv` of the
            experiment; those without a ratio are left out.
        slopes: the slopes that were fitted to them: `theory` and `fitted`, the values
            of K or M that were used.
        axis: a key of `AXES`.

    Raises:
        PlottingError: an unknown axis, or no row that has a ratio.
    """
    if axis not in AXES:
        raise PlottingError(f"unknown axis {axis!r}: use one of {sorted(AXES)}")
    rows = [row for row in rows if np.isfinite(number(row["snr"]))]
    require_rows(rows, "scaling_laws")
    groups = distinct(row["group"] for row in rows)
    estimators = distinct(row["estimator"] for row in rows)
    figure, axes = panels(len(groups), size=(WIDTH / 2, 2.8))
    for panel, group in zip(axes, groups, strict=True):
        for i, estimator in enumerate(estimators):
            of_curve = {"estimator": estimator, "group": group}
            curve = _chosen(rows, of_curve)
            slope = _chosen(slopes, of_curve | {"axis": axis})
            if curve:
                _curve(panel, curve, slope[0] if slope else {}, axis, i)
        panel.set(xscale="log", yscale="log", xlabel=AXES[axis], title=group)
        panel.legend(fontsize=6.5)
    axes[0].set_ylabel("signal-to-noise ratio")
    handles = [
        Line2D([], [], color=QUIET, linestyle="--", label="slope of theory"),
        Line2D([], [], color=QUIET, linestyle=":", label="of the draws' own mean"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    letter = AXES[axis].split()[-1].strip("$")
    figure.set_label(
        f"Signal-to-noise ratio against {letter} with 95% bands and, in the legend, "
        "the fitted slopes; hollow points are not in the fit."
    )
    return figure


def _chosen(rows: Sequence[Row], values: dict[str, str]) -> list[Row]:
    return [row for row in rows if all(row[name] == values[name] for name in values)]


def _curve(axes: Axes, curve: list[Row], slope: Row, axis: str, i: int) -> None:
    curve = sorted(curve, key=lambda row: number(row[axis]))
    x, snr, stderr, plain = (
        np.array([number(row[name]) for row in curve])
        for name in (axis, "snr", "snr_stderr", "plain_snr")
    )
    label = str(curve[0]["estimator"])
    if slope.get("slope") is not None:
        label += f": {slope['slope']:.3f} ({slope['low']:.3f}, {slope['high']:.3f})"
    look: Any = series(i) | {"label": label.replace("-", "\N{MINUS SIGN}")}
    color = look["color"]
    axes.plot(x, snr, linestyle=LINES[0], **look)
    # On a logarithmic axis a band that reaches 0 would hide the rest.
    low, high = np.maximum(snr - 1.96 * stderr, snr / 10), snr + 1.96 * stderr
    axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(x, plain, linestyle=":", color=color, linewidth=0.9, label="_plain")
    fitted = np.isin(x, slope.get("fitted") or [])
    hollow: Any = series(i) | {"linestyle": "none", "markerfacecolor": "white"}
    axes.plot(x[~fitted], snr[~fitted], label="_not fitted", **hollow)
    if slope.get("theory") is not None and fitted.any():
        centre = [np.exp(np.log(values[fitted]).mean()) for values in (x, snr)]
        ends = np.array([x[fitted].min() / 1.5, x[fitted].max() * 1.5])
        line = centre[1] * (ends / centre[0]) ** slope["theory"]
        axes.plot(ends, line, linestyle="--", color=QUIET, zorder=1, label="_theory")
