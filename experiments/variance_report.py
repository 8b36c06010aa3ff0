"""What a comparison of gradient estimators shows: results.csv, figures and a table."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from vaejax.plotting import bias_forest, gradient_statistic, save


def draw(out: Path, rows: list[dict[str, Any]]) -> None:
    """Every statistic over K, and the biases, under figures/."""
    if all(row["status"] == "refused" for row in rows):
        return
    for statistic in ("variance", "snr", "work_normalized_variance"):
        figure = gradient_statistic(rows, statistic)
        save(figure, out / "figures" / f"{statistic}.png")
    save(bias_forest(rows), out / "figures" / "bias.png")


def print_rows(
    rows: list[dict[str, Any]], refusals: dict[str, str], *, draws: int, out: Path
) -> None:
    """Print a table, why what is refused is refused, and how to read the figures."""
    table = Table(title=f"gradients of the loss on {rows[0]['model']}", box=box.SIMPLE)
    shown = ("bound", "estimator", "num_samples", "group", "status")
    for name in ("bound", "estimator", "K", "group", "status"):
        table.add_column(name)
    for name in ("bias ± stderr", "variance", "snr", "cosine", "µs", "var x s"):
        table.add_column(name, justify="right")
    for row in rows:
        labels = [str(row[name]) for name in shown]
        if row["status"] == "refused":
            table.add_row(*labels)
            continue
        table.add_row(
            *labels,
            f"{row['bias']:.2g} ± {row['bias_stderr']:.1g}",
            f"{row['variance']:.3g}",
            f"{row['snr']:.3g}",
            f"{row['cosine']:.4f}",
            f"{1e6 * row['seconds_per_gradient']:.0f}",
            f"{row['work_normalized_variance']:.2g}",
        )
    # A pipe has no width of its own, and a folded table cannot be read.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    for cell, reason in refusals.items():
        print(f"refused: {cell}: {reason}")
    print(
        "bias is the debiased ||E g - g*||^2; snr has a noise floor of "
        f"{np.sqrt(2 / (np.pi * draws)):.2g}; results and figures: {out}"
    )
