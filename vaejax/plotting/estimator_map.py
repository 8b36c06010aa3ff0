"""Every estimator against every bound at a glance: numbers, biases and refusals."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patches import Rectangle

from vaejax.benchmark.numbers import short
from vaejax.benchmark.rows import Row
from vaejax.benchmark.statistics import (
    SIGNED,
    distinct,
    number,
    unsafe,
    values_of,
)
from vaejax.plotting.coinciding import groups_that_differ, name_alike
from vaejax.plotting.gradients import STATISTICS, in_words, namer
from vaejax.plotting.style import (
    QUIET,
    WIDTH,
    Look,
    Picture,
    PlottingError,
    panels,
    require_rows,
    styled,
    typeset,
)

COLOURS = colormaps["cividis_r"]  # the steps are even in grey too
REFUSED = "refused"


@styled
def estimator_map(
    rows: Sequence[Row], statistic: str = "variance", num_samples: int | None = None
) -> Picture:
    """A statistic of estimators x bounds at one K, refusals hatched, a panel per group.

    The number stands in its cell, with a star where the estimator is biased; a cell
    that was not measured is blank. A dagger marks a number whose interval is unsafe.

    Args:
        rows: cells of the benchmark, the refused ones too.
        statistic: a key of `gradients.STATISTICS`.
        num_samples: K; by default the largest.

    Raises:
        PlottingError: an unknown statistic, or no cell at K.
    """
    require_rows(rows, "estimator_map")
    if statistic not in STATISTICS:
        raise PlottingError(
            f"unknown statistic {statistic!r}: use one of {', '.join(STATISTICS)}"
        )
    if num_samples is None:
        num_samples = max(row.cell.num_samples for row in rows)
    rows = [row for row in rows if row.cell.num_samples == num_samples]
    require_rows(rows, f"estimator_map at K = {num_samples}")
    name_of = namer(rows)
    names = distinct(map(name_of, rows))
    bounds = distinct(row.cell.bound for row in rows)
    refused = [row for row in rows if row.refused]
    groups, alike = groups_that_differ([r for r in rows if not r.refused], statistic)
    size = (1.15 + 0.62 * len(bounds), 0.75 + 0.21 * len(names))
    columns = max(1, int(WIDTH / size[0]))
    figure, axes = panels(max(len(groups), 1), size=size, columns=columns, names=names)
    for i, panel in enumerate(axes):
        members = [row for row in rows if groups and row.group == groups[i]]
        panel.set_title(groups[i] if groups else "every cell is refused")
        scale = _scale(values_of(members, statistic), statistic)
        for row in [*members, *refused]:
            at = bounds.index(row.cell.bound), names.index(name_of(row))
            _cell(panel, row, at, number(row.get(statistic)), scale)
        panel.set_xticks(range(len(bounds)), bounds, rotation=30, ha="right")
        shown = names if i % columns == 0 else [""] * len(names)
        panel.set_yticks(range(len(names)), shown)
        panel.set(xlim=(-0.5, len(bounds) - 0.5), ylim=(len(names) - 0.5, -0.5))
        panel.tick_params(length=0)
        panel.grid(visible=False)
        panel.spines[:].set_visible(False)
    name_alike(figure, alike)
    figure.set_label(
        f"The {in_words(statistic)} of every estimator of every bound at K = "
        f"{num_samples}. Darker is larger; * is biased; † has an unsafe interval; "
        "hatched is refused."
    )
    return figure


def _scale(values: np.ndarray, statistic: str) -> Normalize:
    """The map of values to [0, 1], over a decade or more, so that equals look alike."""
    positive = values[values > 0]
    if statistic in SIGNED or not positive.size:
        return Normalize(0, 1, clip=True)
    low = positive.min()
    return LogNorm(low, max(positive.max(), 10 * low), clip=True)


def _cell(
    axes: Axes, row: Row, at: tuple[int, int], value: float, scale: Normalize
) -> None:
    corner = at[0] - 0.5, at[1] - 0.5
    if row.refused:
        hatched: Look = {"facecolor": "white", "edgecolor": "#C4C4C4", "hatch": "/////"}
        axes.add_patch(Rectangle(corner, 1, 1, linewidth=0, label=REFUSED, **hatched))
        return
    known = np.isfinite(value)
    shade = float(np.ma.filled(scale(max(value, 0)), 0)) if known else None
    colour = "white" if shade is None else COLOURS(0.85 * shade)
    axes.add_patch(
        Rectangle(corner, 1, 1, facecolor=colour, edgecolor="white", label="measured")
    )
    text = typeset(short(value, 2)) if known else "?"
    axes.text(
        *at,
        text + "*" * (row.verdict.status == "biased") + "†" * unsafe(row),
        ha="center",
        va="center",
        fontsize=6.5,
        color=QUIET if shade is None else "white" if shade > 0.55 else "black",
    )
