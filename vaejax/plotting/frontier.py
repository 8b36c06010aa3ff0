"""Variance against cost: the time of a gradient, or its decoder evaluations."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vaejax.benchmark.rows import Row
from vaejax.benchmark.statistics import distinct, interval, unsafe, values_of
from vaejax.plotting.coinciding import columns_of, name_alike, panels_that_differ
from vaejax.plotting.gradients import UNSAFE, legend, namer
from vaejax.plotting.style import (
    QUIET,
    WIDTH,
    Look,
    Picture,
    PlottingError,
    few_decades,
    panels,
    require_rows,
    series,
    styled,
)

COSTS = {  # column: size of the unit, axis label, words
    "seconds_per_gradient": (1e-6, "µs per gradient", "the time"),
    "decoder_evaluations": (1.0, "decoder evaluations", "the decoder evaluations"),
}


@styled
def cost_frontier(
    rows: Sequence[Row],
    num_samples: int | None = None,
    cost: str = "seconds_per_gradient",
) -> Picture:
    """Variance against cost at one K, with the undominated estimators.

    A panel per bound and parameter group. The step line joins the unbiased estimators
    that no other beats in both cost and variance; on a dotted diagonal,
    variance x cost, and so the work for a given precision, is the same.

    Args:
        rows: cells of the benchmark; those without a positive variance or cost are left
            out.
        num_samples: K; by default the largest.
        cost: seconds_per_gradient or decoder_evaluations.

    Raises:
        PlottingError: no cell at K has both.
    """
    require_rows(rows, "cost_frontier")
    name_of = namer(rows)
    rows = [row for row in rows if not row.refused]
    points = np.stack([values_of(rows, cost), values_of(rows, "variance")], axis=1)
    rows = [row for row, point in zip(rows, points, strict=True) if (point > 0).all()]
    if num_samples is None:
        num_samples = max((row.cell.num_samples for row in rows), default=0)
    rows = [row for row in rows if row.cell.num_samples == num_samples]
    if not rows:
        raise PlottingError("no cell has a positive variance and cost: none to draw")
    unit, label, words = COSTS[cost]
    names = distinct(map(name_of, rows))
    cells, alike = panels_that_differ(rows, "variance")
    columns = columns_of(cells)
    wide = 4.2 if columns == 1 else WIDTH / columns
    figure, axes = panels(len(cells), size=(wide, 2.2), columns=columns)
    for panel, cell in zip(axes, cells, strict=True):
        members = [row for row in rows if (row.cell.bound, row.group) == cell]
        which = [names.index(name_of(row)) for row in members]
        _points(panel, members, cost, unit, which)
        panel.set(title=", ".join(cell))
    for i, panel in enumerate(axes):
        if i % columns == 0:
            panel.set_ylabel(r"gradient variance (nats$^2$)")
        if i + columns >= len(axes):
            panel.set_xlabel(label)
    look: Look = {"color": QUIET, "linewidth": 0.8}
    legend(
        figure,
        names,
        lines=False,
        biased=any(row.verdict.status == "biased" for row in rows),
        unsafe=any(map(unsafe, rows)),
        extras=[
            Line2D([], [], label="frontier", **look),
            Line2D([], [], linestyle=":", label="equal work", **look),
        ],
    )
    name_alike(figure, alike)
    figure.set_label(
        f"Variance against {words} of a gradient at K = {num_samples}, with 95% "
        f"intervals; nearer to the lower left is better."
    )
    return figure


def frontier(points: np.ndarray) -> np.ndarray:
    """The points [n, 2] that no other is below in one coordinate and not above in both.

    The points are in order of the first coordinate.
    """
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    best_before = np.minimum.accumulate(np.r_[np.inf, points[:-1, 1]])
    return points[points[:, 1] < best_before]


def _points(
    axes: Axes, rows: Sequence[Row], cost: str, unit: float, which: Sequence[int]
) -> None:
    x, y = values_of(rows, cost) / unit, values_of(rows, "variance")
    across, upwards = (
        np.nan_to_num(np.abs(np.array(interval(rows, name)) / scale - values))
        for name, scale, values in ((cost, unit, x), ("variance", 1, y))
    )
    biased = np.array([row.verdict.status == "biased" for row in rows])
    for i, series_index in enumerate(which):
        look = series(series_index)
        hollow: Look = {"markerfacecolor": "white"} if biased[i] else {}
        axes.errorbar(
            x[i],
            y[i],
            xerr=across[:, [i]],
            yerr=upwards[:, [i]],
            linestyle="none",
            capsize=2,
            elinewidth=0.9,
            **look,
            **hollow,
        )
    marked = np.array(list(map(unsafe, rows)))
    axes.plot(x[marked], y[marked], label="_unsafe", **UNSAFE)
    axes.set(xscale="log", yscale="log")
    # Half a decade at least, so that equal costs are not drawn far apart.
    limits = []
    for values in (x, y):
        middle = np.sqrt(values.min() * values.max())
        reach = max(1.5 * (values.max() / middle) ** 1.1, 10**0.25)
        limits.append(np.array([middle / reach, middle * reach]))
    axes.set(xlim=limits[0], ylim=limits[1])
    if not biased.all():
        best = frontier(np.stack([x, y], axis=1)[~biased])
        corners = np.concatenate(
            [[[best[0, 0], limits[1][1]]], best, [[limits[0][1], best[-1, 1]]]]
        )
        look = {"color": QUIET, "linewidth": 0.8, "zorder": 1}
        axes.plot(*corners.T, drawstyle="steps-post", label="_frontier", **look)
    least, most = limits[0] * limits[1]
    for work in np.geomspace(least, most, 6)[1:-1]:
        look = {"color": QUIET, "linewidth": 0.6, "zorder": 0}
        axes.plot(limits[0], work / limits[0], ":", label="_work", **look)
    axes.grid(visible=False)
    few_decades(axes.xaxis, *limits[0])
    few_decades(axes.yaxis, *limits[1])
