"""The training of models: the bound, its two parts and the ELBO against the epoch."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vaejax.benchmark.statistics import Line, number
from vaejax.plotting.style import (
    ALARM,
    LINES,
    WIDTH,
    Picture,
    PlottingError,
    legend_outside,
    panels,
    require_rows,
    series,
    styled,
    written,
)

SPLITS = ("train", "validation")
PARTS = {
    "bound": "bound",
    "log_px_z": r"reconstruction, $\log p(x\,|\,z)$",
    "kl": r"$\mathrm{KL}(q(z\,|\,x)\,\|\,p(z))$",
}
COMPARED = PARTS | {"elbo": "ELBO at KL weight 1"}


@styled
def training_curves(rows: Sequence[Line]) -> Picture:
    """The bound and its two parts against the epoch, for training and validation.

    Args:
        rows: the lines of `metrics.jsonl`. Parts and splits that no row holds are
            left out; epochs whose value is not finite are marked on the axis.

    Raises:
        PlottingError: no row holds any of the parts.
    """
    require_rows(rows, "training_curves")
    curves = {
        (part, split): _points(rows, part, split) for part in PARTS for split in SPLITS
    }
    parts = [part for part in PARTS if any(curves[part, split] for split in SPLITS)]
    if not parts:
        raise PlottingError(
            f"no row holds any of {list(PARTS)} under 'train' or 'validation'"
        )
    figure, axes = panels(len(parts), size=(WIDTH / 2.6, 2.1))
    for part, panel in zip(parts, axes, strict=True):
        panel.set(title=PARTS[part], xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        for i, split in enumerate(SPLITS):
            if curves[part, split]:
                _curve(
                    panel, curves[part, split], i, _labelled(split, curves[part, split])
                )
        panel.legend()
    axes[0].set_ylabel("nats per example")
    figure.set_label(
        "The bound and its parts, mean per example, after each epoch; "
        "the legend gives the last finite values."
    )
    return figure


@styled
def bound_curves(
    runs: Mapping[str, Sequence[Line]],
    part: Literal["bound", "log_px_z", "kl", "elbo"] = "bound",
) -> Picture:
    """The bounds of several runs against the epoch, for training and validation.

    A split that no run holds the part of is left out.

    Runs of different bounds, K or KL weights are compared by their "elbo", which means
    the same for all.

    Args:
        runs: the lines of `metrics.jsonl` of every run, by the name in the legend. A
            run whose lines do not hold the part is left out.
        part: what is drawn; "bound" is each run's own.

    Raises:
        PlottingError: none of the runs holds the part.
    """
    splits = [
        split
        for split in SPLITS
        if any(_points(rows, part, split) for rows in runs.values())
    ]
    if not splits:
        raise PlottingError(f"none of the runs {list(runs)} holds the {part} to draw")
    figure, axes = panels(len(splits), size=(WIDTH / 2, 2.4))
    for split, panel in zip(splits, axes, strict=True):
        panel.set(title=f"{COMPARED[part]}, {split}", xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        for i, (name, rows) in enumerate(runs.items()):
            if points := _points(rows, part, split):
                # Labels that begin with _ are left out of a legend.
                _curve(panel, points, i, " " * name.startswith("_") + name)
    axes[0].set_ylabel("nats per example")
    by_name = {
        label: handle
        for panel in axes
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    legend_outside(figure, list(by_name.values()))
    figure.set_label(
        f"The {COMPARED[part]} of the runs, mean per example, after each epoch."
    )
    return figure


def _points(rows: Sequence[Line], part: str, split: str) -> list[tuple[int, float]]:
    """A part of the bound against the epoch, where the rows hold it."""
    return [
        (row["epoch"], number(row[split][part]))
        for row in rows
        if part in (row.get(split) or {})
    ]


def _labelled(split: str, points: list[tuple[int, float]]) -> str:
    finite = [value for _, value in points if np.isfinite(value)]
    return f"{split}: {written(finite[-1])}" if finite else split


def _curve(axes: Axes, points: list[tuple[int, float]], i: int, label: str) -> None:
    epoch, value = np.array(points, dtype=float).T
    finite = np.isfinite(value)
    axes.plot(
        epoch,
        value,
        **series(i),
        linestyle=LINES[i % len(LINES)],
        markevery=max(1, len(points) // 10),
        markerfacecolor="white" if i % 2 else None,
        label=label,
    )
    if not finite.all():
        axes.plot(
            epoch[~finite],
            np.full((~finite).sum(), 0.03),
            linestyle="none",
            marker="x",
            color=ALARM,
            transform=axes.get_xaxis_transform(),
            label=f"{label.partition(':')[0]}: not finite",
        )
