"""A comparison of gradient estimators: a statistic against K or the training step.

The rows are those of `results.csv` of the estimator benchmark, one for every cell
(model, bound, estimator, num_samples K, ...) and parameter group. A cell whose status
is "refused" has no numbers; a "biased" cell has numbers, and is drawn hollow.

Bands are 95% intervals, by Student's t of the folds that the errors are from. For
positive statistics the interval is of the logarithm, value * exp(+-t stderr / value),
and so positive. A cross marks an interval that heavy tails or few draws make unsafe.

References:
    Rainforth et al. 2018, arXiv:1802.04537; Tucker et al. 2019, arXiv:1810.04152.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from vaejax.benchmark.statistics import (
    SETTINGS,
    SIGNED,
    Line,
    distinct,
    interval,
    near_floor,
    noise_floor,
    number,
    unsafe,
    values_of,
)
from vaejax.plotting.style import (
    ALARM,
    QUIET,
    WIDTH,
    Look,
    Picture,
    PlottingError,
    few_decades,
    legend_outside,
    line_style,
    panels,
    require_rows,
    series,
    styled,
)

STATISTICS = {  # statistics with the label of the axis
    "bias_squared": r"$\|\mathrm{E}\,g - g^*\|^2$ (nats$^2$)",
    "variance": r"gradient variance (nats$^2$)",
    "snr": "signal-to-noise ratio",
    "rms_snr": "rms signal-to-noise ratio",
    "norm_snr": r"$\|\mathrm{E}\,g\| \,/\, \sqrt{\mathrm{tr\,Cov}\,g}$",
    "directional_snr": "along / across the gradient",
    "work_normalized_variance": r"variance $\times$ seconds (nats$^2$ s)",
    "cosine": "cosine of the mean to the reference",
    "draw_cosine": "cosine of a draw to the reference",
}
RATIOS = ("snr", "rms_snr", "norm_snr")  # signal-to-noise ratios, which obey the laws
# Statistics outside `SIGNED` are positive and have a logarithmic axis.
UNSAFE: Look = {  # drawn above its point, and beyond the edges
    **{"marker": "x", "markersize": 7, "zorder": 4},
    **{"linestyle": "none", "color": ALARM},
}
# The power of K with which the signal-to-noise ratio grows under IWAE, where the
# weights and their gradients have finite variance.
LAWS = {
    ("encoder", "pathwise"): -0.5,  # Rainforth et al., theorem 1
    ("encoder", "dreg"): 0.5,  # Tucker et al., section 4
    ("decoder", "pathwise"): 0.5,
    ("decoder", "dreg"): 0.5,
}
Name = TypeVar("Name", bound=Hashable)
AXES = {"num_samples": "importance samples $K$", "step": "training step"}


@styled
def gradient_statistic(
    rows: Sequence[Line], statistic: str, group: str | None = None
) -> Picture:
    """A statistic of the gradient against K with 95% bands, a line per estimator.

    A row of panels per bound, a column per parameter group; the panels of a group have
    one scale. For the signal-to-noise ratio, thin lines through the last points show
    the laws K^(-1/2) and K^(1/2), to which the ratio tends where the data are the
    same in all draws, and the noise floor sqrt(2 / (pi draws)), which `snr` has where
    the true gradient is zero.

    Args:
        rows: cells of the benchmark; refused cells are left out.
        statistic: a key of `STATISTICS`.
        group: the parameter group to draw; by default every one.

    Raises:
        PlottingError: an unknown statistic or group, or only refused cells.
    """
    figure = curves(rows, statistic, group, "num_samples")
    figure.set_label(
        f"The {in_words(statistic)} of the gradient estimators against the number of "
        " importance samples, with 95% intervals"
        + _THEORY * any("asymptotic" in str(x.get_label()) for x in _lines(figure))
        + "."
    )
    return figure


_THEORY = (
    "; thin lines: the asymptotic laws of Rainforth et al. (2018) and Tucker et al. "
    "(2019), through the points of the largest K, and the noise floor where it is near"
)


def _lines(figure: Picture) -> list[Line2D]:
    return [line for axes in figure.axes for line in axes.lines]


def curves(
    rows: Sequence[Line], statistic: str, group: str | None, against: str
) -> Picture:
    """The panels of `gradient_statistic`, against a key of `AXES`."""
    require_rows(rows, "a figure of a gradient statistic")
    if statistic not in STATISTICS:
        raise PlottingError(
            f"unknown statistic {statistic!r}: use one of {sorted(STATISTICS)}"
        )
    groups = distinct(row["group"] for row in rows)
    if group is not None and group not in groups:
        raise PlottingError(f"no row of group {group!r}: the rows hold {groups}")
    cells = [
        row
        for row in rows
        if row["status"] != "refused" and group in (None, row["group"])
    ]
    if not cells:
        raise PlottingError("every cell was refused: there is no statistic to draw")
    name_of = namer(rows, except_for=[against])
    names = distinct(map(name_of, cells))
    bounds = distinct(row["bound"] for row in cells)
    groups = distinct(row["group"] for row in cells)
    columns = min(len(groups), 3) if len(bounds) == 1 else len(groups)
    wide = 4.2 if columns == 1 else max(WIDTH / columns, 1.6)
    figure, axes = panels(len(bounds) * len(groups), size=(wide, 2.1), columns=columns)
    extras: list[Line2D] = []
    for i, panel in enumerate(axes):
        bound, group = bounds[i // len(groups)], groups[i % len(groups)]
        of_group = [row for row in cells if row["group"] == group]
        for j, name in enumerate(names):
            line = [r for r in of_group if (r["bound"], name_of(r)) == (bound, name)]
            _line(panel, line, statistic, against, j, name)
            if against == "num_samples":
                extras += _laws(panel, line, statistic)
        title = group if len(bounds) == 1 else f"{bound}, {group}"
        panel.set(title=title, xlabel=AXES[against])
        _x_axis(panel, cells, against)
        _y_axis(panel, of_group, statistic)
        if i % columns == 0:
            panel.set_ylabel(STATISTICS[statistic])
        if i + columns < len(axes):
            panel.set_xlabel("")
    legend(
        figure,
        names,
        title=f"bound: {bounds[0]}" if len(bounds) == 1 else None,
        biased=any(row["status"] == "biased" for row in cells),
        unsafe=any(map(unsafe, cells)),
        extras={str(line.get_label()): line for line in extras}.values(),
    )
    return figure


def in_words(statistic: str) -> str:
    """The name of a statistic, for a caption."""
    return statistic.replace("_", " ").replace("snr", "signal-to-noise ratio")


def _line(
    axes: Axes, rows: list[Line], statistic: str, against: str, i: int, label: str
) -> None:
    if not rows:
        return
    rows.sort(key=lambda row: number(row[against]))
    x, y = values_of(rows, against), values_of(rows, statistic)
    biased = np.array([row["status"] == "biased" for row in rows])
    look = series(i)
    axes.plot(x, y, linestyle=line_style(i), label=label, **look)
    hollow: Look = look | {"linestyle": "none", "markerfacecolor": "white"}
    axes.plot(x[biased], y[biased], label="_biased", **hollow)
    marked = np.array(list(map(unsafe, rows)))
    axes.plot(x[marked], y[marked], label="_unsafe", **UNSAFE)
    band = axes.fill_between(
        x, *interval(rows, statistic), color=look["color"], alpha=0.18, linewidth=0
    )
    band.set_label(f"_{label}")


def _laws(axes: Axes, rows: list[Line], statistic: str) -> list[Line2D]:
    """Draw the theoretical laws of these rows' signal-to-noise ratio."""
    if statistic not in RATIOS or not rows:
        return []
    drawn = []
    last = next((row for row in rows[::-1] if number(row[statistic]) > 0), None)
    power = LAWS.get((rows[0]["group"], rows[0]["estimator"]))
    # No law is known if the data vary, and none was seen to hold on trained networks.
    lawless = any(np.isfinite(values_of(rows, "pool"))) or any(
        row.get("checkpoint") or row.get("step") is not None for row in rows
    )
    if last and power is not None and rows[0]["bound"] == "iwae" and not lawless:
        x = values_of(rows, "num_samples")
        y = number(last[statistic]) * (x / number(last["num_samples"])) ** power
        law = r"asymptotic: $\propto K^{\pm 1/2}$"
        drawn += axes.plot(x, y, color=QUIET, linewidth=0.7, label=law, zorder=1)
    floor = max(map(noise_floor, rows))
    if statistic == "snr" and any(map(near_floor, rows)):
        look: Look = {"color": QUIET, "linewidth": 0.7, "linestyle": (0, (1, 3))}
        drawn.append(axes.axhline(floor, label="noise floor", zorder=1, **look))
    return drawn


def _x_axis(axes: Axes, rows: Sequence[Line], against: str) -> None:
    if against == "step":
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        return
    ticks = sorted({int(row["num_samples"]) for row in rows})
    axes.set_xscale("log", base=2)
    ticks = ticks[:: -(-len(ticks) // 6)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _y_axis(axes: Axes, rows: Sequence[Line], statistic: str) -> None:
    if statistic in SIGNED:
        return
    values = values_of(rows, statistic)
    positive = values[values > 0]
    if not positive.size:
        return
    low, high = positive.min(), positive.max()
    room = max(1.3, (high / low) ** 0.08)  # wider bands and laws are cut off
    if (values <= 0).any():
        # A variance of exactly zero is a result, and a log axis would drop it.
        axes.set_yscale("symlog", linthresh=low)
        axes.set_ylim(min(values[values <= 0].min(), -0.3 * low), high * room)
        return
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    few_decades(axes.yaxis, low, high)


def legend(
    figure: Picture,
    names: Sequence[str],
    *,
    title: str | None = None,
    biased: bool = False,
    unsafe: bool = False,
    lines: bool = True,
    extras: Iterable[Line2D] = (),
) -> None:
    """A handle per estimator below the panels, in rows that fit the figure's width."""
    handles = [
        Line2D(
            *([], []),
            linestyle=line_style(i) if lines else "none",
            label=name,
            **series(i),
        )
        for i, name in enumerate(names)
    ]
    if biased:
        look: Look = {"marker": "o", "linestyle": "none", "markerfacecolor": "white"}
        handles.append(Line2D([], [], label="biased", color=QUIET, **look))
    if unsafe:
        handles.append(Line2D([], [], label="interval unsafe", **UNSAFE))
    legend_outside(figure, [*handles, *extras], title)


def namer(
    rows: Sequence[Line], *, except_for: Collection[str] = ()
) -> Callable[[Line], str]:
    """Name an estimator, with the settings that differ between the rows."""
    several = [
        name
        for name in SETTINGS
        if name not in except_for and len({row.get(name) for row in rows}) > 1
    ]

    def name_of(row: Line) -> str:
        words = [
            SETTINGS[name].format(row[name])
            for name in several
            if row.get(name) not in (None, "")
        ]
        return row["estimator"] + (f" ({', '.join(words)})" if words else "")

    return name_of
