"""A comparison of gradient estimators: a statistic against K or the training step.

The rows are those of an `EstimatorTable`, one for every cell (model, bound, estimator,
num_samples K, ...) and parameter group. A refused cell has no numbers; a biased one is
drawn hollow.

Bands are 95% intervals, by Student's t of the folds that the errors are from. For
positive statistics the interval is of the logarithm, value * exp(+-t stderr / value),
and so positive. A cross marks an interval that heavy tails or few draws make unsafe.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from vaejax.benchmark.rows import Row
from vaejax.benchmark.statistics import (
    SIGNED,
    distinct,
    interval,
    number,
    unsafe,
    values_of,
)
from vaejax.plotting.coinciding import columns_of, name_alike, panels_that_differ
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
    signed_log,
    styled,
)
from vaejax.plotting.theory import draw_theory

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
DECADES = 5  # the most decades beyond the linear zone of a bias
# Statistics outside `SIGNED` are positive and have a logarithmic axis.
UNSAFE: Look = {  # drawn above its point, and beyond the edges
    **{"marker": "x", "markersize": 7, "zorder": 4},
    **{"linestyle": "none", "color": ALARM},
}
SETTINGS = {  # what tells cells of one estimator, bound and K apart
    "model": "{}",
    "num_outer": "M = {}",
    "batch_size": "batch of {}",
    "step": "step {}",
}
AXES = {"num_samples": "importance samples $K$", "step": "training step"}


@styled
def gradient_statistic(
    rows: Sequence[Row], statistic: str, group: str | None = None
) -> Picture:
    """A statistic of the gradient against K with 95% bands, a line per estimator.

    A row of panels per bound, a column per parameter group; the panels of a group have
    one scale. Panels in which all estimators coincide are named and not drawn. For the
    signal-to-noise ratio, thin lines through the last points show the laws K^(-1/2) and
    K^(1/2), to which the ratio tends where the data are the same in all draws, and the
    noise floor sqrt(2 / (pi draws)), which `snr` has where
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
    rows: Sequence[Row], statistic: str, group: str | None, against: str
) -> Picture:
    """The panels of `gradient_statistic`, against a key of `AXES`."""
    require_rows(rows, "a figure of a gradient statistic")
    if statistic not in STATISTICS:
        raise PlottingError(
            f"unknown statistic {statistic!r}: use one of {', '.join(STATISTICS)}"
        )
    groups = distinct(row.group for row in rows)
    if group is not None and group not in groups:
        raise PlottingError(f"no row of group {group!r}: the rows hold {groups}")
    cells = [row for row in rows if not row.refused and group in (None, row.group)]
    if not cells:
        raise PlottingError("every cell was refused: there is no statistic to draw")
    name_of = namer(rows, except_for=[against])
    names = distinct(map(name_of, cells))
    bounds = distinct(row.cell.bound for row in cells)
    # The time of a gradient is the same in all groups: its noise is no difference.
    compared = "variance" if statistic == "work_normalized_variance" else statistic
    shown, alike = panels_that_differ(cells, compared)
    columns = columns_of(shown)
    wide = 4.2 if columns == 1 else max(WIDTH / columns, 1.6)
    figure, axes = panels(len(shown), size=(wide, 2.1), columns=columns)
    extras: list[Line2D] = []
    for i, (panel, (bound, group)) in enumerate(zip(axes, shown, strict=True)):
        of_group = [row for row in cells if row.group == group]
        for j, name in enumerate(names):
            line = [r for r in of_group if (r.cell.bound, name_of(r)) == (bound, name)]
            _line(panel, line, statistic, against, j, name)
            if against == "num_samples":
                extras += draw_theory(panel, line, statistic)
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
        biased=any(row.verdict.status == "biased" for row in cells),
        unsafe=any(map(unsafe, cells)),
        extras={str(line.get_label()): line for line in extras}.values(),
    )
    name_alike(figure, alike)
    return figure


def in_words(statistic: str) -> str:
    """The name of a statistic, for a caption."""
    return statistic.replace("_", " ").replace("snr", "signal-to-noise ratio")


def _line(
    axes: Axes, rows: list[Row], statistic: str, against: str, i: int, label: str
) -> None:
    if not rows:
        return
    rows.sort(key=lambda row: number(row.get(against)))
    x, y = values_of(rows, against), values_of(rows, statistic)
    biased = np.array([row.verdict.status == "biased" for row in rows])
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


def _x_axis(axes: Axes, rows: Sequence[Row], against: str) -> None:
    if against == "step":
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        return
    ticks = sorted({row.cell.num_samples for row in rows})
    axes.set_xscale("log", base=2)
    ticks = ticks[:: -(-len(ticks) // 6)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _y_axis(axes: Axes, rows: Sequence[Row], statistic: str) -> None:
    if statistic == "bias_squared":
        _bias_axis(axes, rows)
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


def _bias_axis(axes: Axes, rows: Sequence[Row]) -> None:
    """An axis of either sign, linear within the smallest interval."""
    low, high = interval(rows, "bias_squared")
    half = high - values_of(rows, "bias_squared")
    ends = np.maximum(np.abs(low), np.abs(high))
    half, ends = half[np.isfinite(ends)], ends[np.isfinite(ends)]
    reach = ends.max(initial=0)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    if reach > 0:
        linear = max(half[half > 0].min(initial=reach), reach * 10.0**-DECADES)
        signed_log(axes, "y", linear, reach)


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
    rows: Sequence[Row], *, except_for: Collection[str] = ()
) -> Callable[[Row], str]:
    """Name an estimator, with the settings that differ between the rows."""
    several = [
        name
        for name in SETTINGS
        if name not in except_for and len({getattr(row.cell, name) for row in rows}) > 1
    ]

    def name_of(row: Row) -> str:
        values = {name: getattr(row.cell, name) for name in several}
        words = [SETTINGS[n].format(v) for n, v in values.items() if v is not None]
        return row.cell.estimator + (f" ({', '.join(words)})" if words else "")

    return name_of
