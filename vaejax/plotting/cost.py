"""Time and memory against the work, on logarithmic axes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import NullLocator

from vaejax.benchmark.statistics import Line, distinct, number
from vaejax.plotting.style import (
    QUIET,
    Picture,
    PlottingError,
    panels,
    require_rows,
    series,
    styled,
)

QUANTITIES = {  # quantities with the label of the axis
    "seconds_per_image": "seconds per image",
    "processor_seconds_per_image": "processor seconds per image",
    "peak_bytes": "bytes of the program",
}


@styled
def cost_curves(rows: Sequence[Line], quantity: str) -> Picture:
    """A quantity against each setting that was varied, a panel each, a line per work.

    Beside the measured points stands the line that was fitted to them, in grey; points
    off it are hollow.

    Args:
        rows: the rows of `results.csv` of the cost experiment; those without the
            quantity are left out.
        quantity: a key of `QUANTITIES`.

    Raises:
        PlottingError: an unknown quantity, or no row that has it.
    """
    require_rows(rows, "cost_curves")
    if quantity not in QUANTITIES:
        raise PlottingError(
            f"unknown quantity {quantity!r}: use one of {', '.join(QUANTITIES)}"
        )
    rows = [row for row in rows if np.isfinite(number(row[quantity]))]
    require_rows(rows, f"cost_curves of {quantity}")
    works = distinct(row["work"] for row in rows)
    axes_names = distinct(row["axis"] for row in rows)
    figure, axes = panels(len(axes_names), size=(3.2, 2.4), columns=2)
    for panel, axis in zip(axes, axes_names, strict=True):
        for i, work in enumerate(works):
            curve = [row for row in rows if (row["work"], row["axis"]) == (work, axis)]
            if not curve:
                continue
            value = [number(row["value"]) for row in curve]
            panel.plot(
                value, [number(r[quantity]) for r in curve], label=work, **series(i)
            )
            line = [number(row[f"line_{quantity}"]) for row in curve]
            panel.plot(value, line, color=QUIET, linestyle=":", label="_line", zorder=1)
            off = [row for row in curve if str(row[f"off_{quantity}"]) == "True"]
            panel.plot(
                [number(row["value"]) for row in off],
                [number(row[quantity]) for row in off],
                linestyle="none",
                markerfacecolor="white",
                label="_off",
                **series(i),
            )
        panel.set(xscale="log", yscale="log", xlabel=axis.replace("_", " "))
        ticks = sorted({int(row["value"]) for row in rows if row["axis"] == axis})
        ticks = ticks[:: -(-len(ticks) // 6)]
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.legend()
    for panel in axes[::2]:
        panel.set_ylabel(QUANTITIES[quantity])
    figure.set_label(
        f"{QUANTITIES[quantity].capitalize()} against each setting, the others fixed. "
        "The grey line is a + b x; hollow points are more than 1.5 times off it."
    )
    return figure
