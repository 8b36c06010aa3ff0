"""The coverage of intervals, beside the nominal coverage."""

from collections.abc import Sequence

import numpy as np

from vaejax.benchmark.statistics import Statistics, distinct, number, values_of
from vaejax.plotting.style import (
    QUIET,
    WIDTH,
    Look,
    Picture,
    panels,
    require_rows,
    series,
    styled,
)

HOLLOW: Look = {"markerfacecolor": "white", "label": "_marked"}


@styled
def interval_coverage(
    rows: Sequence[Statistics], wanted: tuple[float, float]
) -> Picture:
    """The share of 95% intervals that hold the truth, a line per statistic.

    Regimes of a kind share a colour; points that most reports mark as unsafe are
    hollow.

    Args:
        rows: of `results.csv` of the experiment on coverage; those of which no interval
            is given are left out.
        wanted: the shares between which an interval is as good as it says.

    Raises:
        PlottingError: no row that has a share.
    """
    rows = [row for row in rows if np.isfinite(number(row.get("covered")))]
    require_rows(rows, "interval_coverage")
    statistics = distinct(row.get("statistic") for row in rows)
    kinds = distinct(row.get("kind") for row in rows)
    height = 1.0 + 0.5 * len(statistics) + 0.14 * len(kinds)
    figure, (axes,) = panels(1, size=(WIDTH, height))
    axes.axvspan(*wanted, color=QUIET, alpha=0.25, linewidth=0)
    axes.axvline(0.95, color="black", linewidth=0.8)
    for i, kind in enumerate(kinds):
        own = [row for row in rows if row.get("kind") == kind]
        regimes = distinct(row.get("regime") for row in own)
        x, low, high = (values_of(own, name) for name in ("covered", "low", "high"))
        lanes = [(regimes.index(row.get("regime")) + 0.5) / len(regimes) for row in own]
        y = np.array([statistics.index(row.get("statistic")) for row in own])
        y = y + 0.8 * ((i + np.array(lanes)) / len(kinds) - 0.5)
        marked = np.array([str(row.get("marked")) == "True" for row in own])
        look: Look = series(i) | {"linestyle": "none", "elinewidth": 0.6}
        for chosen, more in ((~marked, {"label": kind}), (marked, HOLLOW)):
            ends = np.stack([x - low, high - x])[:, chosen]
            axes.errorbar(x[chosen], y[chosen], xerr=ends, **look, **more)
    axes.set_yticks(range(len(statistics)), [s.replace("_", " ") for s in statistics])
    axes.set_ylim(len(statistics) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of 95% intervals that hold the truth")
    figure.legend(loc="outside lower center", ncols=1)
    figure.set_label(
        "How often the 95% interval of every statistic holds the truth, a point per "
        "regime with its 95% Wilson interval, hollow where most reports mark it as "
        "unsafe or give none; shaded is what counts as right, "
        f"{100 * wanted[0]:g} to {100 * wanted[1]:g}%."
    )
    return figure
