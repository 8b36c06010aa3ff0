"""The log-likelihoods of several models, each with its Monte Carlo error."""

from collections.abc import Sequence

import numpy as np

from vaejax.benchmark.statistics import Line, number
from vaejax.plotting.style import (
    COLOURS,
    WIDTH,
    Picture,
    panels,
    require_rows,
    styled,
    written,
)


@styled
def log_likelihood_bars(
    rows: Sequence[Line], error_name: str = "Monte Carlo error"
) -> Picture:
    """The log-likelihood of every model with its error.

    Args:
        rows: each with "name", "log_likelihood" and "monte_carlo_error" (may be
            missing), drawn from the top in the order given.
        error_name: what that error is, if another.
    """
    require_rows(rows, "log_likelihood_bars")
    value = np.array([number(row["log_likelihood"]) for row in rows])
    error = np.array([number(row.get("monte_carlo_error")) for row in rows])
    figure, (axes,) = panels(1, size=(WIDTH * 0.75, 0.7 + 0.24 * len(rows)))
    at = np.arange(len(rows))
    axes.errorbar(value, at, xerr=error, fmt="o", capsize=3, color=COLOURS[0])
    for i in at[np.isfinite(value)]:
        axes.annotate(
            written(value[i]),
            (value[i], at[i]),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=7,
        )
    axes.set_yticks(at, [row["name"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.7)
    axes.margins(x=0.1)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(
        r"$\log p(x)$ (nats per example; higher is better)"
        "\n"
        rf"bars: $\pm$ {error_name}"
    )
    figure.set_label(f"Log-likelihood with its {error_name}.")
    return figure
