"""Log-likelihoods: of several models with their errors, and of every example."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from vaejax.benchmark.statistics import Line, number
from vaejax.plotting.style import (
    ALARM,
    COLOURS,
    WIDTH,
    Picture,
    PlottingError,
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


@styled
def log_likelihood_histogram(log_px: ArrayLike) -> Picture:
    """The log-likelihoods of the examples as a histogram, with their mean.

    Args:
        log_px: [N] in nats; values that are not finite are left out.

    Raises:
        PlottingError: another shape, or no finite value.
    """
    values = np.asarray(log_px, float)
    if values.ndim != 1 or not np.isfinite(values).any():
        raise PlottingError(
            f"log_px is of shape {values.shape}: give [N] with a finite value"
        )
    values = values[np.isfinite(values)]
    figure, (axes,) = panels(1, size=(WIDTH * 0.6, 2.2))
    axes.hist(values, bins=min(60, 5 + int(len(values) ** 0.5)), color=COLOURS[0])
    axes.axvline(values.mean(), color=ALARM, label=f"mean {written(values.mean())}")
    axes.set(xlabel=r"$\log p(x)$ of an example, nats", ylabel="examples")
    axes.legend()
    figure.set_label("Log-likelihoods of the examples.")
    return figure


@styled
def unit_variances(variances: ArrayLike, threshold: float) -> Picture:
    """The variance over examples of every latent's posterior mean, largest first.

    Args:
        variances: [Z].
        threshold: above which a latent is active, drawn as a line.

    Raises:
        PlottingError: another shape.
    """
    values = np.asarray(variances, float)
    if values.ndim != 1 or not values.size:
        raise PlottingError(f"variances is of shape {values.shape}: give [Z]")
    order = np.argsort(-values)
    figure, (axes,) = panels(1, size=(WIDTH * 0.6, 2.2))
    axes.bar(np.arange(len(values)), values[order], color=COLOURS[0])
    axes.axhline(threshold, color=ALARM, label=f"threshold {threshold:g}")
    axes.set_yscale("log")
    axes.set_ylim(bottom=min(threshold, max(values.min(), threshold / 100)) / 2)
    axes.set(
        xlabel="latent, in the order of its variance",
        ylabel=r"$\mathrm{Var}_x\, E_q[z]$",
    )
    axes.grid(visible=False, axis="x")
    axes.legend()
    figure.set_label("Variance of the posterior means: latents above the line move.")
    return figure
