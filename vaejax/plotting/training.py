"""How a model trained: the bound and its two parts against the epoch."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vaejax.plotting.style import (
    ALARM,
    COLOURS,
    LINES,
    MARKERS,
    WIDTH,
    Picture,
    PlottingError,
    Row,
    number,
    panels,
    require_rows,
    styled,
    written,
)

PARTS = {
    "bound": "bound",
    "log_px_z": r"reconstruction, $\log p(x\,|\,z)$",
    "kl": r"$\mathrm{KL}(q(z\,|\,x)\,\|\,p(z))$",
}


@styled
def training_curves(rows: Sequence[Row]) -> Picture:
    """The bound and its two parts against the epoch, for training and test set.

    Args:
        rows: the lines of `metrics.jsonl`. Parts and splits that no row holds are
            left out; epochs whose value is not finite are marked on the axis.

    Raises:
        PlottingError: no row holds any of the parts.
    """
    require_rows(rows, "training_curves")
    curves = {
        (part, split): [
            (row["epoch"], number(row[split][part]))
            for row in rows
            if part in (row.get(split) or {})
        ]
        for part in PARTS
        for split in ("train", "test")
    }
    parts = [part for part in PARTS if curves[part, "train"] or curves[part, "test"]]
    if not parts:
        raise PlottingError(
            f"no row holds any of {list(PARTS)} under 'train' or 'test'"
        )
    figure, axes = panels(len(parts), size=(WIDTH / 2.6, 2.1))
    for part, panel in zip(parts, axes, strict=True):
        panel.set(title=PARTS[part], xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        for i, split in enumerate(("train", "test")):
            if curves[part, split]:
                _curve(panel, curves[part, split], split, i)
        panel.legend()
    axes[0].set_ylabel("nats per example")
    figure.set_label(
        "The bound and its parts, mean per example, after each epoch; "
        "the legend gives the last finite values."
    )
    return figure


def _curve(axes: Axes, points: list[tuple[int, float]], split: str, i: int) -> None:
    epoch, value = np.array(points, dtype=float).T
    finite = np.isfinite(value)
    axes.plot(
        epoch,
        value,
        color=COLOURS[i],
        linestyle=LINES[i],
        marker=MARKERS[i],
        markevery=max(1, len(points) // 10),
        markerfacecolor="white" if i else None,
        label=f"{split}: {written(value[finite][-1])}" if finite.any() else split,
    )
    if not finite.all():
        axes.plot(
            epoch[~finite],
            np.full((~finite).sum(), 0.03),
            linestyle="none",
            marker="x",
            color=ALARM,
            transform=axes.get_xaxis_transform(),
            label=f"{split}: not finite",
        )
