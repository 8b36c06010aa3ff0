"""Measured signal-to-noise ratios beside the theoretical laws."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from vaejax.benchmark.statistics import (
    Statistics,
    distinct,
    number,
    quantiles,
    unsafe,
    values_of,
)
from vaejax.plotting.gradients import UNSAFE
from vaejax.plotting.style import (
    QUIET,
    WIDTH,
    Picture,
    PlottingError,
    inches,
    panels,
    require_rows,
    series,
    styled,
)

PLAIN = r"mean of $|\overline{g}_i|\,/\,\mathrm{sd}(g_i)$, with its noise floor"
AXES = {"num_samples": "importance samples $K$", "num_outer": "estimates averaged $M$"}


@styled
def scaling_laws(
    rows: Sequence[Statistics], slopes: Sequence[Statistics], axis: str
) -> Picture:
    """The signal-to-noise ratio against K or M, a panel per parameter group.

    Bands are 95% confidence; hollow points are not in the fit. A dashed line has the
    slope of theory, at the height of the fitted points. A dotted line is the mean
    over coordinates of the plain ratio, which bends to its noise floor. A cross marks a
    point whose interval is unsafe.

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
        raise PlottingError(f"unknown axis {axis!r}: use one of {', '.join(AXES)}")
    rows = [row for row in rows if np.isfinite(number(row.get("snr")))]
    require_rows(rows, "scaling_laws")
    groups = distinct(row.get("group") for row in rows)
    estimators = distinct(row.get("estimator") for row in rows)
    wide = max(WIDTH / 2, 2.1 + inches(estimators))  # room for the slopes in a legend
    figure, axes = panels(len(groups), size=(wide, 3.1))
    for panel, group in zip(axes, groups, strict=True):
        for i, estimator in enumerate(estimators):
            of_curve = {"estimator": estimator, "group": group}
            curve = _chosen(rows, of_curve)
            slope = _chosen(slopes, of_curve | {"axis": axis})
            if curve:
                above = len(estimators) - 1 - i  # curves that may hide it
                _curve(panel, curve, slope[0] if slope else {}, axis, i, above)
        panel.set(xscale="log", yscale="log", xlabel=AXES[axis])
        for one in (panel.xaxis, panel.yaxis):
            one.set_major_formatter("{x:g}")
            one.set_minor_formatter(NullFormatter())
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.legend(title=group, loc="lower left", bbox_to_anchor=(0, 1))
    axes[0].set_ylabel("signal-to-noise ratio")
    handles = [
        Line2D([], [], color="black", lw=0.9, ls="--", label="slope of theory"),
        Line2D([], [], color=QUIET, linestyle=":", label=PLAIN),
        *[Line2D([], [], label="interval unsafe", **UNSAFE)] * any(map(unsafe, rows)),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    letter = AXES[axis].split()[-1].strip("$")
    figure.set_label(
        f"Signal-to-noise ratio (root mean square over coordinates) against {letter} "
        "with 95% bands and, in the legend, the fitted slopes and their 95% intervals; "
        "hollow points are not in the fit."
    )
    return figure


def _chosen(rows: Sequence[Statistics], values: dict[str, str]) -> list[Statistics]:
    return [row for row in rows if all(row.get(n) == v for n, v in values.items())]


def _curve(
    axes: Axes,
    curve: list[Statistics],
    slope: Statistics,
    axis: str,
    i: int,
    above: int,
) -> None:
    curve = sorted(curve, key=lambda row: number(row.get(axis)))
    x, snr, stderr, plain = (
        values_of(curve, name) for name in (axis, "snr", "snr_stderr", "plain_snr")
    )
    label = str(curve[0].get("estimator"))
    if slope.get("slope") is not None:
        fit, low, high = (f"{slope.get(name):.3f}" for name in ("slope", "low", "high"))
        label += f": {fit} ({low}, {high})"
    # Equal curves lie on one another: the lower ones are the larger.
    look: Any = series(i) | {"markersize": 4 + 2 * above}
    color, label = look["color"], label.replace("-", "\N{MINUS SIGN}")
    axes.plot(x, snr, label=label, **look)
    # On a logarithmic axis a band that reaches 0 would hide the rest.
    half = quantiles(curve) * stderr
    low, high = np.maximum(snr - half, snr / 10), snr + half
    axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(x, plain, linestyle=":", color=color, linewidth=0.9, label="_plain")
    fitted = np.isin(x, slope.get("fitted") or [])
    look |= {"linestyle": "none", "markerfacecolor": "white"}
    axes.plot(x[~fitted], snr[~fitted], label="_not fitted", **look)
    marked = np.array(list(map(unsafe, curve)))
    axes.plot(x[marked], snr[marked], label="_unsafe", **UNSAFE)
    if slope.get("theory") is not None and fitted.any():
        centre = [np.exp(np.log(values[fitted]).mean()) for values in (x, snr)]
        ends = np.array([x[fitted].min() / 1.5, x[fitted].max() * 1.5])
        line = centre[1] * (ends / centre[0]) ** slope.get("theory")
        axes.plot(
            ends, line, linestyle="--", color="black", linewidth=0.9, label="_theory"
        )
