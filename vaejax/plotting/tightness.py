"""Bounds against log p(x), and the health of the weights, as K grows.

The rows are those of `results.csv` of the experiment on the tightness of bounds, one
for every bound and K. A row whose kind is "refused" has no numbers and is left out.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from vaejax.benchmark.statistics import Statistics, distinct, number, values_of
from vaejax.plotting.style import (
    ALARM,
    COLOURS,
    MARKERS,
    QUIET,
    WIDTH,
    Look,
    Picture,
    PlottingError,
    panels,
    require_rows,
    series,
    styled,
)

NORMAL_95 = 1.96  # half-width of a 95% interval in standard errors
FOCUS = 2.5  # depth shown below log p(x), in median distances at the least K
LINE_OF = {"lower": "-", "upper": "--", "debiased": ":", "none": "-."}
STYLE_SAYS = {
    "lower": "solid, a lower bound",
    "upper": "dashed, an upper bound as K grows",
    "debiased": "dotted, a debiased estimate",
    "none": "dash-dotted, no bound on log p(x)",
}
THEORY: Look = {"color": "black", "linewidth": 0.7, "linestyle": "-", "zorder": 4}
UNRELIABLE = 0.7  # Pareto k


@styled
def bound_tightness(rows: Sequence[Statistics]) -> Picture:
    """Every bound against K beside log p(x), and its distance from it on log axes.

    Bands are 95% intervals of the Monte Carlo error, on the right widened by rounding.
    There points above log p(x) are hollow, and the thin line is the leading order of
    IWAE's gap, if known. Lines are solid for lower bounds, dashed for upper ones as
    K grows, dotted for debiased estimates and dash-dotted for non-bounds.

    Args:
        rows: cells of the experiment; refused cells are left out.

    Raises:
        PlottingError: no rows, or only refused ones.
    """
    rows = _measured(rows, "bound_tightness")
    names = distinct(row.get("bound") for row in rows)
    figure, (values, gaps) = panels(2, size=(WIDTH / 2, 3.0))
    for i, name in enumerate(names):
        curve = _curve(rows, name)
        look = _look(i) | {"linestyle": LINE_OF[curve[0].get("kind")]}
        k, value, stderr = _columns(curve, "num_samples", "value", "stderr")
        values.plot(k, value, label=name, **look)
        _band(values, k, value, NORMAL_95 * stderr, look)
        gap, half = _columns(curve, "gap")[0], _half_widths(curve)
        gaps.plot(k, np.abs(gap), label=name, **look)
        _band(gaps, k, np.abs(gap), half, look)
        above = gap < 0
        hollow = look | {"linestyle": "none", "markerfacecolor": "white"}
        gaps.plot(k[above], -gap[above], label="_above", **hollow)
    log_px, log_px_stderr = (
        number(rows[0].get(n)) for n in ("log_px", "log_px_stderr")
    )
    values.axhline(log_px, color="black", linewidth=1, label=r"_log p(x)", zorder=1)
    reach = NORMAL_95 * log_px_stderr
    values.axhspan(log_px - reach, log_px + reach, color=QUIET, alpha=0.3, linewidth=0)
    values.annotate(
        r"$\log p(x)$",
        (0.01, log_px),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        fontsize=7.5,
    )
    _focus(values, rows, log_px)
    theory = [row for row in rows if np.isfinite(number(row.get("leading_order")))]
    iwae = _curve(theory, "iwae")
    if iwae:
        k, expected = _columns(iwae, "num_samples", "leading_order")
        gaps.plot(k, log_px - expected, label="_theory", **THEORY)
    for panel in (values, gaps):
        _samples_axis(panel, rows)
    values.set(title="bound", ylabel="nats, mean over examples")
    gaps.set(title=r"distance from $\log p(x)$", ylabel="nats", yscale="log")
    _floor(gaps, rows)
    _legend(figure, values, theory=bool(iwae))
    kinds = {row.get("kind") for row in rows}
    exactly = "exact" if log_px_stderr == 0 else "estimated"
    figure.set_label(
        f"Every bound against the number of importance samples, beside the {exactly} "
        "log p(x). Bands are 95% intervals of the Monte Carlo error, on the right "
        "widened by rounding; hollow points lie above log p(x). Lines: "
        f"{', '.join(STYLE_SAYS[kind] for kind in LINE_OF if kind in kinds)}."
    )
    return figure


@styled
def weight_health(rows: Sequence[Statistics]) -> Picture:
    """The relative effective sample size of the K weights, and their Pareto k.

    Args:
        rows: cells of the experiment; those of the first bound tell of the weights.

    Raises:
        PlottingError: no rows, or only refused ones.
    """
    rows = _measured(rows, "weight_health")
    by_k = {int(row.get("num_samples")): row for row in rows}
    cells = [by_k[k] for k in sorted(by_k)]
    figure, (ess, pareto) = panels(2, size=(WIDTH / 2, 2.0))
    k, size, shape, above = _columns(
        cells, "num_samples", "relative_ess", "pareto_k", "pareto_k_above_0.7"
    )
    ess.plot(k, size, **series(0))
    ess.plot(k, 1 / k, color=QUIET, linestyle=":", label="_a single weight")
    ess.set(title=r"effective sample size / $K$", yscale="log")
    ess.set_ylim(top=1.1)
    pareto.plot(k, shape, label="median", **series(0))
    pareto.plot(k, above, label="share above 0.7", linestyle="--", **series(1))
    pareto.axhline(UNRELIABLE, color=ALARM, linewidth=0.8, linestyle=":", zorder=1)
    pareto.set(title=r"Pareto $\hat k$")
    if np.isfinite(shape).any():
        pareto.legend()
    for panel in (ess, pareto):
        _samples_axis(panel, rows)
    figure.set_label(
        "What the K weights are worth. Left: effective sample size over K (dotted: a "
        "single weight counts). Right: Pareto k, where the tail has five weights; "
        "above 0.7 (dotted) a mean of the weights is not to be trusted."
    )
    return figure


def _measured(rows: Sequence[Statistics], what: str) -> list[Statistics]:
    require_rows(rows, what)
    found = [row for row in rows if row.get("kind") != "refused"]
    if not found:
        raise PlottingError("every cell was refused: there is no bound to draw")
    return found


def _curve(rows: Sequence[Statistics], name: str) -> list[Statistics]:
    members = [row for row in rows if row.get("bound") == name]
    return sorted(members, key=lambda row: int(row.get("num_samples")))


def _columns(rows: Sequence[Statistics], *names: str) -> list[np.ndarray]:
    return [values_of(rows, name) for name in names]


def _half_widths(rows: Sequence[Statistics]) -> np.ndarray:
    """The half-widths of the gaps' 95% intervals, with rounding."""
    stderr, rounding = _columns(rows, "gap_stderr", "rounding")
    return NORMAL_95 * stderr + rounding


def _look(i: int) -> Look:
    """The look of the i-th series: beyond ten, colours repeat with other markers."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
    }


def _band(
    axes: Axes, k: np.ndarray, value: np.ndarray, half: np.ndarray, look: Look
) -> None:
    axes.fill_between(
        k, value - half, value + half, color=look["color"], alpha=0.2, linewidth=0
    )


def _samples_axis(axes: Axes, rows: Sequence[Statistics]) -> None:
    ticks = sorted({int(row.get("num_samples")) for row in rows})
    axes.set(xscale="log", xlabel="importance samples $K$")
    ticks = ticks[:: -(-len(ticks) // 8)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _focus(axes: Axes, rows: Sequence[Statistics], log_px: float) -> None:
    """Cut off and name the bounds so far below that the others would merge."""
    least = min(int(row.get("num_samples")) for row in rows)
    start = [
        abs(number(r.get("gap"))) for r in rows if int(r.get("num_samples")) == least
    ]
    low = log_px - FOCUS * np.median(start)
    below = distinct(row.get("bound") for row in rows if number(row.get("value")) < low)
    if below:
        axes.set_ylim(bottom=low)
        note = f"below: {', '.join(below)}"
        axes.text(0.98, 0.03, note, transform=axes.transAxes, ha="right", fontsize=7)


def _floor(axes: Axes, rows: Sequence[Statistics]) -> None:
    """Keep gaps indistinguishable from zero from stretching the logarithmic axis."""
    gap = np.abs(_columns(rows, "gap")[0])
    told = gap > _half_widths(rows)
    if told.any():
        low, high = gap[told].min(), gap[told].max()
        axes.set_ylim(low / 3, 2 * high)


def _legend(figure: Picture, axes: Axes, *, theory: bool) -> None:
    handles = list(axes.get_legend_handles_labels()[0])
    if theory:
        label = "IWAE to leading order"
        handles.append(Line2D([], [], label=label, **THEORY))
    rows = -(-len(handles) // 5)
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
