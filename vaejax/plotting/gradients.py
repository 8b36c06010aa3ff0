"""Gradient estimators against each other, as the number of importance samples grows.

The rows are those of `results.csv` of the estimator benchmark, one for every cell
(model, bound, estimator, num_samples K, parameter group). A cell whose status is
"refused" has no numbers; a "biased" one has them, and is drawn hollow.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from vaejax.plotting.style import (
    LINES,
    QUIET,
    WIDTH,
    Look,
    Picture,
    PlottingError,
    Row,
    number,
    panels,
    require_rows,
    series,
    styled,
)

STATISTICS = {  # with the label of the axis
    "variance": r"gradient variance (nats$^2$)",
    "snr": "signal-to-noise ratio",
    "work_normalized_variance": r"variance $\times$ seconds (nats$^2$ s)",
    "cosine": "cosine to the reference",
}


@styled
def gradient_statistic(
    rows: Sequence[Row], statistic: str, group: str | None = None
) -> Picture:
    """A statistic of the gradient against K, a line per (bound, estimator).

    Colour and marker say the estimator, the line style the bound. Both axes are
    logarithmic, but for the cosine, which may be negative.

    Args:
        rows: cells of the benchmark; refused cells are left out.
        statistic: a key of `STATISTICS`.
        group: the parameter group to draw; by default every one in its own panel.

    Raises:
        PlottingError: an unknown statistic or group, or only refused cells.
    """
    require_rows(rows, "gradient_statistic")
    if statistic not in STATISTICS:
        raise PlottingError(
            f"unknown statistic {statistic!r}: use one of {sorted(STATISTICS)}"
        )
    groups = distinct(row["group"] for row in rows)
    if group is not None and group not in groups:
        raise PlottingError(f"no row of group {group!r}: the rows hold {groups}")
    shown = groups if group is None else [group]
    cells = [r for r in rows if r["status"] != "refused" and r["group"] in shown]
    if not cells:
        raise PlottingError("every cell was refused: there is no statistic to draw")
    estimators = distinct(estimator_name(row, rows) for row in cells)
    bounds = distinct(row["bound"] for row in cells)
    shown = [name for name in shown if any(row["group"] == name for row in cells)]
    wide = 4.2 if len(shown) == 1 else WIDTH / min(len(shown), 3)
    figure, axes = panels(len(shown), size=(wide, 2.2))
    for panel, name in zip(axes, shown, strict=True):
        members = [row for row in cells if row["group"] == name]
        for i, estimator in enumerate(estimators):
            for j, bound in enumerate(bounds):
                line = [
                    row
                    for row in members
                    if estimator_name(row, rows) == estimator and row["bound"] == bound
                ]
                _line(panel, line, statistic, i, j, f"{bound}, {estimator}")
        panel.set(title=name, xlabel="importance samples $K$")
        _scales(panel, members, statistic)
    for panel in axes[::3]:
        panel.set_ylabel(STATISTICS[statistic])
    _legend(figure, estimators, bounds, any(r["status"] == "biased" for r in cells))
    figure.set_label(
        f"The {statistic.replace('_', ' ')} of the gradient estimators against the "
        "number of importance samples, per parameter group."
    )
    return figure


def _line(
    axes: Axes, rows: list[Row], statistic: str, i: int, j: int, label: str
) -> None:
    if not rows:
        return
    rows = sorted(rows, key=lambda row: int(row["num_samples"]))
    num_samples = np.array([int(row["num_samples"]) for row in rows])
    values = np.array([number(row[statistic]) for row in rows])
    biased = np.array([row["status"] == "biased" for row in rows])
    line = LINES[j % len(LINES)]
    axes.plot(num_samples, values, linestyle=line, label=label, **series(i))
    axes.plot(
        num_samples[biased],
        values[biased],
        linestyle="none",
        markerfacecolor="white",
        label="_biased",
        **series(i),
    )


def _scales(axes: Axes, rows: list[Row], statistic: str) -> None:
    ticks = sorted({int(row["num_samples"]) for row in rows})
    axes.set_xscale("log", base=2)
    ticks = ticks[:: -(-len(ticks) // 8)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    if statistic == "cosine":
        return
    values = np.array([number(row[statistic]) for row in rows])
    if (values > 0).any() and (values <= 0).any():
        # A variance of exactly zero is a result, and a log axis would drop it.
        axes.set_yscale("symlog", linthresh=values[values > 0].min())
    elif (values > 0).any():
        axes.set_yscale("log")
        if np.nanmax(values) > 100 * np.nanmin(values):
            axes.yaxis.set_minor_formatter(NullFormatter())


def _legend(
    figure: Picture, estimators: list[str], bounds: list[str], biased: bool
) -> None:
    """One handle per estimator and one per bound: fewer than one per pair."""
    several = len(bounds) > 1
    # With several bounds, the line style is the bound's to show.
    alone: Any = "none" if several else "-"
    handles = [
        Line2D([], [], linestyle=alone, label=name, **series(i))
        for i, name in enumerate(estimators)
    ]
    for j, name in enumerate(bounds if several else ()):
        line = LINES[j % len(LINES)]
        handles.append(Line2D([], [], linestyle=line, label=name, color=QUIET))
    if biased:
        look: Look = {"marker": "o", "linestyle": "none", "markerfacecolor": "white"}
        handles.append(Line2D([], [], label="biased", color=QUIET, **look))
    inches = 0.6 + 0.06 * max(len(str(handle.get_label())) for handle in handles)
    columns = min(len(handles), max(1, int(figure.get_figwidth() / inches)))
    rows = -(-len(handles) // columns) + (not several)
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)
    title = None if several else f"bound: {bounds[0]}"
    figure.legend(
        handles=handles, title=title, loc="outside lower center", ncols=columns
    )


def estimator_name(row: Row, rows: Sequence[Row]) -> str:
    """The estimator's name, with its model where the rows hold several."""
    several = len({other.get("model") for other in rows}) > 1
    return f"{row['estimator']} ({row['model']})" if several else row["estimator"]


def distinct(names: Iterable[str]) -> list[str]:
    """The names without repetition, in their first order."""
    return list(dict.fromkeys(names))
