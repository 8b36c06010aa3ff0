"""The parts of the variance of a gradient: the choice of data, and the latents.

By the law of total variance, tr Cov g = tr Cov E[g | data] + E tr Cov[g | data]:
only a larger batch lessens the first part; a better estimator or more samples also
lessen the second.
"""

from collections.abc import Sequence

import numpy as np

from vaejax.benchmark.numbers import flag, short
from vaejax.benchmark.rows import Row
from vaejax.benchmark.statistics import distinct, quantiles, values_of
from vaejax.plotting.coinciding import columns_of, name_alike, panels_that_differ
from vaejax.plotting.gradients import namer
from vaejax.plotting.style import (
    COLOURS,
    WIDTH,
    Look,
    Picture,
    PlottingError,
    panels,
    require_rows,
    styled,
    typeset,
)

PARTS = {"variance_data": "data", "variance_latents": "latents"}


@styled
def variance_split(rows: Sequence[Row], num_samples: int | None = None) -> Picture:
    """The shares of the data and of the latents in the variance at one K, as bars.

    The whisker is the 95% interval of the division between them; beside the bar stands
    the sum, with a dagger where the interval is unsafe.

    Args:
        rows: cells of the benchmark; those whose variance was not split are left out.
        num_samples: K; by default the largest.

    Raises:
        PlottingError: no cell at K was split.
    """
    require_rows(rows, "variance_split")
    name_of = namer(rows)
    total = values_of(rows, "variance_data") + values_of(rows, "variance_latents")
    rows = [row for row, size in zip(rows, total, strict=True) if size > 0]
    if num_samples is None:
        num_samples = max((row.cell.num_samples for row in rows), default=0)
    rows = [row for row in rows if row.cell.num_samples == num_samples]
    if not rows:
        raise PlottingError("no cell has its variance split into data and latents")
    names = distinct(map(name_of, rows))
    cells, alike = panels_that_differ(rows, "variance_latents")
    columns = columns_of(cells)
    size = (4.2 if columns == 1 else WIDTH / columns, 0.75 + 0.2 * len(names))
    figure, axes = panels(len(cells), size=size, columns=columns, names=names)
    for i, (panel, cell) in enumerate(zip(axes, cells, strict=True)):
        members = [row for row in rows if (row.cell.bound, row.group) == cell]
        at = [names.index(name_of(row)) for row in members]
        data, latents = (values_of(members, part) for part in PARTS)
        share = data / (data + latents)
        errors = [values_of(members, f"{part}_stderr") for part in PARTS]
        # The delta method, the parts taken as independent.
        stderr = np.hypot(latents * errors[0], data * errors[1]) / (data + latents) ** 2
        look: Look = {"height": 0.72, "edgecolor": "white", "linewidth": 0.4}
        panel.barh(at, share, color=COLOURS[0], label="data", **look)
        panel.barh(
            *(at, 1 - share),
            left=share,
            color="#BFD9EA",
            hatch="////",
            label="latents",
            **look,
        )
        half = np.nan_to_num(quantiles(members) * stderr)
        panel.errorbar(share, at, xerr=half, fmt="none", ecolor="black", capsize=2)
        for place, whole, row in zip(at, data + latents, members, strict=True):
            text = typeset(short(whole, 2)) + flag(row)
            panel.text(1.02, place, text, va="center", fontsize=7)
        panel.set(title=", ".join(cell), xlabel="share of the variance", xlim=(0, 1))
        panel.set_yticks(range(len(names)), names if i % columns == 0 else [])
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.grid(visible=False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    name_alike(figure, alike)
    figure.set_label(
        f"The shares of the data and of the latents in the variance at K = "
        f"{num_samples}, with 95% intervals († marks unsafe ones), and their sum (nats "
        "squared)."
    )
    return figure
