"""The figure of a sweep of trainings: log p(x) of every setting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.plotting import log_likelihood_bars, save

SCORE, ERROR = "test.log_likelihood", "test.monte_carlo_error"


def draw(out: Path, rows: Sequence[dict[str, Any]], varied: Sequence[str]) -> bool:
    """Write figures/log_likelihood.png; return False if no trial has a value.

    Trials that differ in their seed alone are one mark, at their mean, with their
    standard deviation; without seeds in the grid, the error is the Monte Carlo error.

    Args:
        out: the folder of the sweep.
        rows: one for each trial, as in results.csv.
        varied: the settings in the grid.
    """
    groups = by_settings(rows, varied, SCORE)
    if not groups:
        return False
    over_seeds = "seed" in varied
    marks = []
    for name, alike in groups.items():
        values = [row[SCORE] for row in alike]
        spread = np.std(values, ddof=1) if len(values) > 1 else None
        error = spread if over_seeds else alike[0].get(ERROR)
        mark = {"name": name, "log_likelihood": np.mean(values)}
        marks.append(mark | {"monte_carlo_error": error})
    figure = log_likelihood_bars(
        marks, "standard deviation over seeds" if over_seeds else "Monte Carlo error"
    )
    save(figure, out / "figures" / "log_likelihood.png")
    return True


def by_settings(
    rows: Sequence[dict[str, Any]], varied: Sequence[str], column: str
) -> dict[str, list[dict[str, Any]]]:
    """The finished trials that have a column, by the settings besides the seed."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["status"] == "finished" and column in row:
            settings = (f"{name}={row[name]}" for name in varied if name != "seed")
            groups.setdefault(" ".join(settings) or "all", []).append(row)
    return groups
