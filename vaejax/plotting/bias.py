"""The bias of every gradient estimator in its standard errors, a row each.

A dot and the line of significance show at a glance the biases that exceed their noise,
which a table of "estimate (error)" hides.
"""

import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vaejax.benchmark.rows import Row
from vaejax.benchmark.statistics import (
    FALSE_ALARMS,
    distinct,
    interval,
    least_seen,
    unsafe,
    values_of,
)
from vaejax.plotting.coinciding import LETTERS, groups_that_differ, line_about
from vaejax.plotting.gradients import UNSAFE, namer
from vaejax.plotting.style import (
    ALARM,
    COLOURS,
    QUIET,
    WIDTH,
    Look,
    Picture,
    legend_outside,
    panels,
    require_rows,
    signed_log,
    styled,
)

DECADES = 5  # the most decades on a side of a symmetric log axis
LIMIT: Look = {"linestyle": "--", "linewidth": 0.9, "color": ALARM}
IN_ERRORS = r"$\|\mathrm{E}\,g - g^*\|^2$ / its standard error"


@styled
def bias_forest(rows: Sequence[Row]) -> Picture:
    """The bias of every cell over its standard error, a panel per parameter group.

    `bias_squared` estimates ||E g - g*||^2 without bias of its own, so an unbiased
    estimator scatters on both sides of zero. In standard errors, cells of very
    different noise share one axis, which is linear around zero and logarithmic beyond.
    A bias beyond the line of significance, `least_seen`, is more than noise: its mark
    is filled. Bars are 95% intervals. Refused cells are named below.

    Args:
        rows: cells of the benchmark, in the order in which they are drawn.
    """
    require_rows(rows, "bias_forest")
    measured = [row for row in rows if not row.refused]
    refused = [row for row in rows if row.refused]
    least = least_seen(measured)
    seen = values_of(measured, "bias_squared") > least
    groups, alike = groups_that_differ(measured, "bias_squared")
    name_of = namer(rows)

    def cell(row: Row) -> str:
        return f"{row.cell.bound}, {name_of(row)}, $K$ = {row.cell.num_samples}"

    names = distinct(map(cell, measured))
    wide = WIDTH * (0.55 if len(groups) <= 1 else 0.45)
    letters = int(LETTERS * wide * min(max(len(groups), 1), 2))
    notes = [line_about(alike), _refusals(refused, name_of)]
    note = "\n".join(textwrap.fill(text, letters) for text in notes if text)
    high = 0.9 + 0.17 * len(names) + 0.13 * note.count("\n")
    figure, axes = panels(
        max(len(groups), 1), size=(wide, high), columns=2, names=names, sharey=True
    )
    for panel, group in zip(axes, groups, strict=False):
        chosen = [i for i, row in enumerate(measured) if row.group == group]
        members = [measured[i] for i in chosen]
        _forest(
            panel, members, [names.index(cell(row)) for row in members], least[chosen]
        )
        panel.set(title=group, xlabel=IN_ERRORS)
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.5, -0.5)
    if not groups:
        axes[0].axis("off")
    handles = [
        Line2D([], [], marker="s", color=ALARM, label="more than noise"),
        Line2D([], [], label="line of significance", **LIMIT),
        *[Line2D([], [], label="interval unsafe", **UNSAFE)]
        * any(map(unsafe, measured)),
    ]
    legend_outside(figure, handles, loc="outside upper right")
    if note:
        figure.supxlabel(note, x=0.01, ha="left", fontsize=7, color=QUIET)
    figure.set_label(
        f"Squared bias of the gradient in its standard errors, with 95% intervals: "
        f"{seen.sum()} of {len(measured)} are "
        "more than noise. The chance of one or more false alarms is "
        f"{FALSE_ALARMS:.0%}."
    )
    return figure


def _forest(axes: Axes, rows: list[Row], at: list[int], least: np.ndarray) -> None:
    """Draw the cells of one group."""
    stderr = values_of(rows, "bias_squared_stderr")
    # A bias that has no error at all is drawn at 0, and cannot be tested.
    scale = np.divide(1, stderr, out=np.zeros(len(rows)), where=stderr > 0)
    bias = scale * values_of(rows, "bias_squared")
    ends = scale * np.array(interval(rows, "bias_squared"))
    arms = np.abs(ends - bias)
    limits = scale * least
    axes.axvline(0, color=QUIET, linewidth=0.8)
    for limit in distinct(np.round(limits[np.isfinite(limits)], 2)):
        axes.axvline(limit, **LIMIT)
    seen = bias > limits
    spares: Look = {"fmt": "o", "color": COLOURS[0], "markerfacecolor": "white"}
    alarms: Look = {"fmt": "s", "color": ALARM}
    for chosen, look in ((~seen, spares), (seen, alarms)):
        axes.errorbar(
            bias[chosen], np.array(at)[chosen], xerr=arms[:, chosen], capsize=2, **look
        )
    marked = np.array(list(map(unsafe, rows)))
    axes.plot(bias[marked], np.array(at)[marked], label="_unsafe", **UNSAFE)
    reach = np.maximum(np.abs(bias), np.nan_to_num(np.abs(ends)).max(0))
    _signed_log_axis(axes, arms[1], reach)
    axes.grid(visible=False, axis="y")


def _signed_log_axis(axes: Axes, half: np.ndarray, ends: np.ndarray) -> None:
    """Make the axis linear to the least half-width, then logarithmic, on both sides."""
    reach = np.nan_to_num(ends).max(initial=0)
    if reach == 0:
        return
    linear = max(half[half > 0].min(initial=reach), reach * 10.0**-DECADES)
    low, top = np.ceil(np.log10(linear)), np.floor(np.log10(reach))
    if low >= top:  # a linear axis shows one decade
        axes.xaxis.set_major_locator(MaxNLocator(4))
        return
    signed_log(axes, "x", linear, reach)


def _refusals(refused: list[Row], name_of: Callable[[Row], str]) -> str:
    """The refused cells in words, one (bound, estimator) after the other."""
    pairs: dict[str, set[int]] = {}
    for row in refused:
        name = f"{row.cell.bound}, {name_of(row)}"
        pairs.setdefault(name, set()).add(row.cell.num_samples)
    cells = [
        f"{name} (K = {', '.join(map(str, sorted(counts)))})"
        for name, counts in pairs.items()
    ]
    return f"Refused: {'; '.join(cells)}" if cells else ""
