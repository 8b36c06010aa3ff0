"""The bias of every gradient estimator with its interval, a row each.

A dot with its interval says at a glance what a table of "estimate (error)" hides:
which biases are larger than their noise.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from vaejax.plotting.gradients import distinct, estimator_name
from vaejax.plotting.style import (
    ALARM,
    COLOURS,
    QUIET,
    WIDTH,
    Look,
    Picture,
    Row,
    number,
    panels,
    require_rows,
    styled,
)

NORMAL_95 = 1.96  # half-width of a 95% interval in standard errors
DECADES = 5  # of a symmetric log axis on each side, at most


@styled
def bias_forest(rows: Sequence[Row]) -> Picture:
    """The bias of every cell with its 95% interval, a panel per parameter group.

    `bias` estimates the squared norm ||E g - g*||^2 without bias of its own, so an
    unbiased estimator scatters on both sides of zero. The axis is linear around zero
    and logarithmic beyond. Cells whose interval excludes zero are filled; refused
    cells are named below.

    Args:
        rows: cells of the benchmark, in the order in which they are drawn.
    """
    require_rows(rows, "bias_forest")
    measured = [row for row in rows if row["status"] != "refused"]
    refused = [row for row in rows if row["status"] == "refused"]
    groups = distinct(row["group"] for row in measured)
    names = distinct(_cell(row, rows) for row in measured)
    note = _refusals(refused, rows)
    high = 0.9 + 0.17 * len(names) + 0.13 * note.count("\n")
    wide = WIDTH * (0.55 if len(groups) <= 1 else 0.45)
    figure, axes = panels(
        max(len(groups), 1), size=(wide, high), columns=2, sharey=True
    )
    excluded = 0
    for panel, group in zip(axes, groups, strict=False):
        members = [row for row in measured if row["group"] == group]
        at = [names.index(_cell(row, rows)) for row in members]
        excluded += _forest(panel, members, at)
        panel.set(title=group, xlabel=r"$\|\mathrm{E}\,g - g^*\|^2$ (nats$^2$)")
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.5, -0.5)
    if not groups:
        axes[0].axis("off")
    if excluded:
        handle = Line2D([], [], marker="s", color=ALARM, label="interval excludes zero")
        figure.legend(handles=[handle], loc="outside upper right")
    if note:
        figure.supxlabel(note, x=0.01, ha="left", fontsize=7, color=QUIET)
    figure.set_label(
        f"Bias of the gradient with 95% intervals: {excluded} of {len(measured)} "
        f"exclude zero; chance alone would give about {0.05 * len(measured):.1f}."
    )
    return figure


def _forest(axes: Axes, rows: list[Row], at: list[int]) -> int:
    """Draw the cells of one group; how many of their intervals exclude zero."""
    bias = np.array([number(row["bias"]) for row in rows])
    half = NORMAL_95 * np.array([number(row["bias_stderr"]) for row in rows])
    excludes = np.abs(bias) > half
    axes.axvline(0, color=QUIET, linewidth=0.8)
    spares: Look = {"fmt": "o", "color": COLOURS[0], "markerfacecolor": "white"}
    alarms: Look = {"fmt": "s", "color": ALARM}
    for chosen, look in ((~excludes, spares), (excludes, alarms)):
        axes.errorbar(
            bias[chosen], np.array(at)[chosen], xerr=half[chosen], capsize=2, **look
        )
    _signed_log_axis(axes, half, np.abs(bias) + np.nan_to_num(half))
    axes.grid(visible=False, axis="y")
    return int(excludes.sum())


def _signed_log_axis(axes: Axes, half: np.ndarray, ends: np.ndarray) -> None:
    """Linear up to the smallest half-width, logarithmic beyond, on both sides of 0."""
    reach = np.nan_to_num(ends).max(initial=0)
    if reach == 0:
        return
    linear = max(half[half > 0].min(initial=reach), reach * 10.0**-DECADES)
    low, top = np.ceil(np.log10(linear)), np.floor(np.log10(reach))
    if low >= top:  # within one decade a linear axis shows it all
        axes.xaxis.set_major_locator(MaxNLocator(4))
        return
    axes.set_xscale("symlog", linthresh=linear, linscale=0.6)
    # Nearer to each other than three decades, the labels would overlap.
    powers = 10.0 ** np.array([top - 3, top] if top - 3 > low else [top])
    axes.set_xticks([*-powers[::-1], 0, *powers])
    axes.xaxis.set_minor_locator(NullLocator())


def _cell(row: Row, rows: Sequence[Row]) -> str:
    name = estimator_name(row, rows)
    return f"{row['bound']}, {name}, $K$ = {int(row['num_samples'])}"


def _refusals(refused: list[Row], rows: Sequence[Row]) -> str:
    """The refused cells in words, one (bound, estimator) after the other."""
    pairs: dict[str, set[int]] = {}
    for row in refused:
        name = f"{row['bound']}, {estimator_name(row, rows)}"
        pairs.setdefault(name, set()).add(int(row["num_samples"]))
    cells = [
        f"{name} (K = {', '.join(map(str, sorted(counts)))})"
        for name, counts in pairs.items()
    ]
    return textwrap.fill("Refused: " + "; ".join(cells), 100) if cells else ""
