"""Scores of models against distortion: a family's curve, and other models beside it."""

from collections.abc import Mapping, Sequence

import numpy as np

from vaejax.benchmark.statistics import Line, number
from vaejax.plotting.style import QUIET, Picture, panels, require_rows, series, styled


@styled
def scores_by_distortion(rows: Sequence[Line], scores: Mapping[str, str]) -> Picture:
    """A panel for each score, of every model against its distortion -log p(x|z).

    Args:
        rows: each with "name", "distortion" in nats and the scores; those with a
            "curve" that is true are joined by a line.
        scores: what stands at each panel's axis, by the score's name in the rows.
    """
    require_rows(rows, "scores_by_distortion")
    figure, axes = panels(len(scores), size=(2.5, 2.4))
    curve = sorted((row for row in rows if row["curve"]), key=_distortion)
    others = [row for row in rows if not row["curve"]]
    for panel, (score, label) in zip(axes, scores.items(), strict=True):
        heights = np.array([number(row[score]) for row in curve])
        across = np.array([_distortion(row) for row in curve])
        panel.plot(across, heights, color=QUIET, marker=".", linestyle="-")
        for row, x, y in zip(curve, across, heights, strict=True):
            panel.annotate(
                str(row["name"]),
                (x, y),
                xytext=(3, 3),
                textcoords="offset points",
                fontsize=6,
                color=QUIET,
            )
        for i, row in enumerate(others):
            look = series(i) | {"linestyle": "none", "markersize": 6}
            point = [_distortion(row)], [number(row[score])]
            panel.plot(*point, label=str(row["name"]), **look)
        panel.set_ylabel(label)
        panel.margins(0.15)
    figure.supxlabel(r"distortion: $-\log p(x|z)$ (nats)", fontsize=8)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(others) or 1)
    figure.set_label(
        "Scores against distortion on test data. The grey line joins the models of one "
        "family. Compare models at the same distortion."
    )
    return figure


def _distortion(row: Line) -> float:
    return number(row["distortion"])
