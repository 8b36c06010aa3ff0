"""Rate against distortion: the cost and the reconstruction error of a model's codes."""

from collections.abc import Sequence

import numpy as np

from vaejax.benchmark.statistics import Line, number
from vaejax.plotting.style import (
    COLOURS,
    QUIET,
    WIDTH,
    Look,
    Picture,
    panels,
    require_rows,
    styled,
)


@styled
def rate_distortion(rows: Sequence[Line]) -> Picture:
    """Every model's rate KL(q(z|x) || p(z)) against its distortion -log p(x|z).

    The ELBO is minus their sum: dotted lines join points of equal ELBO, and the
    lowest line touches the best model (Alemi et al. 2018, arXiv:1711.00464).

    Args:
        rows: each with "name", "rate" and "distortion", in nats.
    """
    require_rows(rows, "rate_distortion")
    rate, distortion = (
        np.array([number(row[name]) for row in rows]) for name in ("rate", "distortion")
    )
    order = np.argsort(rate)
    figure, (axes,) = panels(1, size=(WIDTH * 0.6, 3.0))
    axes.plot(rate[order], distortion[order], color=COLOURS[0], marker="o")
    for row, x, y in zip(rows, rate, distortion, strict=True):
        axes.annotate(
            str(row["name"]),
            (x, y),
            xytext=(4, 4),
            textcoords="offset points",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0},
        )
    ends = np.array([0.0, rate.max() * 1.3 + 1e-9])
    for i, total in enumerate(np.unique(np.round(rate + distortion, 6))):
        look: Look = {"color": QUIET, "linewidth": 0.6, "linestyle": ":"}
        label = "_equal ELBO" if i else "equal ELBO"  # one legend entry for all
        axes.plot(ends, total - ends, label=label, **look)
    axes.set_xlim(*ends)
    axes.set_ylim(0.9 * distortion.min(), 1.05 * distortion.max())
    axes.set_xlabel("rate: KL divergence (nats)")
    axes.set_ylabel(r"distortion: $-\log p(x|z)$ (nats)")
    axes.legend()
    figure.set_label(
        "Rate against distortion on test data. The ELBO is the same along a dotted "
        "line, and rises towards the lower left."
    )
    return figure
