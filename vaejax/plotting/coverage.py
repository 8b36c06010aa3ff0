"""How often intervals hold the truth, beside how often they should."""

from collections.abc import Sequence

import numpy as np

from vaejax.plotting.gradients import distinct
from vaejax.plotting.style import (
    QUIET,
    WIDTH,
    Look,
    Picture,
    Row,
    number,
    panels,
    require_rows,
    series,
    styled,
)


@styled
def interval_coverage(rows: Sequence[Row], wanted: tuple[float, float]) -> Picture:
    """The share of 95% intervals that hold the truth, a line per statistic.

    Args:
        rows: of `results.csv` of the experiment on coverage; those of which no interval
            was told are left out.
        wanted: the shares between which an interval is as good as it says.

    Raises:
        PlottingError: no row that has a share.
    """
    rows = [row for row in rows if np.isfinite(number(row["covered"]))]
    require_rows(rows, "interval_coverage")
    statistics = distinct(row["statistic"] for row in rows)
    regimes = distinct(row["regime"] for row in rows)
    height = 1.0 + 0.3 * len(statistics) + 0.14 * len(regimes)
    figure, (axes,) = panels(1, size=(WIDTH, height))
    axes.axvspan(*wanted, color=QUIET, alpha=0.25, linewidth=0)
    axes.axvline(0.95, color="black", linewidth=0.8)
    for i, regime in enumerate(regimes):
        own = [row for row in rows if row["regime"] == regime]
        x, low, high = (
            np.array([number(row[name]) for row in own])
            for name in ("covered", "low", "high")
        )
        lane = 0.7 * ((i + 0.5) / len(regimes) - 0.5)
        y = np.array([statistics.index(row["statistic"]) for row in own]) + lane
        look: Look = series(i) | {"linestyle": "none", "elinewidth": 0.6}
        axes.errorbar(x, y, xerr=[x - low, high - x], label=regime, **look)
    axes.set_yticks(range(len(statistics)), [s.replace("_", " ") for s in statistics])
    axes.set_ylim(len(statistics) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of 95% intervals that hold the truth")
    figure.legend(loc="outside lower center", ncols=1)
    figure.set_label(
        "How often the 95% interval of every statistic holds the truth, a point per "
        "regime and parameter group with its 95% Wilson interval; shaded is what "
        f"counts as right, {100 * wanted[0]:g} to {100 * wanted[1]:g}%."
    )
    return figure
