"""The look that all figures share, and how a figure becomes a file.

Figures are made with matplotlib's objects alone: no pyplot, so no global list of open
figures, no display, and nothing to close. Every series differs in marker and line style
as well as in colour, so that a figure still reads when printed in grey.

The colours are those of Okabe & Ito (2008), "Color Universal Design", less the yellow
that vanishes on white, then three of Paul Tol's muted scheme.
"""

import functools
import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from vaejax.benchmark.statistics import Statistics
from vaejax.core import VaejaxError
from vaejax.core.files import write_whole

Look = dict[str, Any]  # keyword arguments of a matplotlib artist

COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"),
    *("#882255", "#999933", "#332288"),
)
ALARM = "#D55E00"  # marks that a reader must not overlook
QUIET = "#767676"  # zero lines, notes
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))

WIDTH = 6.5  # inches: the text width of a paper
NAME = 1.2  # inches of `WIDTH` that names on the left of panels may take
SUFFIXES = (".pdf", ".png", ".svg")

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.formatter.use_mathtext": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 2.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # text stays text in a PDF
    "svg.hashsalt": "vaejax",  # the same figure gives the same bytes
}


class PlottingError(VaejaxError):
    """Data that a figure cannot be drawn from, or a file type that is not written."""


class Picture(Figure):
    """A figure that a notebook shows without pyplot; its label is its caption."""

    def _repr_png_(self) -> bytes:
        return png(self)


def styled(draw: Callable[..., Picture]) -> Callable[..., Picture]:
    """Let `draw` make its figure in the style of this file, whatever is set outside."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Picture:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def series(i: int) -> Look:
    """Colour and marker of the i-th series; they repeat after ten."""
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}


def line_style(i: int) -> Any:
    """The line style of the i-th series, new where colour and marker repeat."""
    return LINES[(i + i // len(COLOURS)) % len(LINES)]


def few_decades(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis over a few decades at 1, 2 and 5, over more at 1."""
    axis.set_minor_formatter(NullFormatter())
    if high <= 100 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")


def panels(
    count: int,
    *,
    size: tuple[float, float],
    columns: int = 3,
    names: Sequence[str] = (),
    **subplots: Any,
) -> tuple[Picture, list[Axes]]:
    """A figure of `count` panels of `size` inches, wrapped after `columns`.

    Long `names` on the left, such as an estimator with its settings, make the figure
    wider.
    """
    columns = min(count, columns)
    rows = -(-count // columns)
    wide = size[0] * columns + max(0.0, inches(names) - NAME)
    figure = Picture(figsize=(wide, size[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **subplots).ravel()
    for unused in axes[count:]:
        unused.remove()
    return figure, list(axes[:count])


def inches(texts: Iterable[str]) -> float:
    """The rough width in inches of the longest text, at the size of tick labels."""
    return 0.06 * max(map(len, texts), default=0)


def legend_outside(
    figure: Figure,
    handles: Sequence[Artist],
    title: str | None = None,
    loc: Literal[
        "outside lower center", "outside upper right"
    ] = "outside lower center",
) -> None:
    """A legend outside the panels in as many columns as fit; the figure makes room."""
    wide = 0.6 + inches(str(handle.get_label()) for handle in handles)
    figure.set_figwidth(max(figure.get_figwidth(), wide))
    columns = min(len(handles), int(figure.get_figwidth() / wide))
    rows = -(-len(handles) // columns) + (title is not None)
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)
    figure.legend(handles=handles, title=title, loc=loc, ncols=columns)


def typeset(text: str) -> str:
    """The text with a true minus sign before each negative number and exponent."""
    return re.sub(r"(?<![\w\]).-])-(?=\.?\d)|(?<=\de)-(?=\d)", "\N{MINUS SIGN}", text)


def written(value: float) -> str:
    """A value in nats for a label: two decimals, a true minus sign."""
    return typeset(f"{value:.2f}")


def signed_log(axes: Axes, along: str, linear: float, reach: float) -> None:
    """Scale the x or y axis: linear to `linear` on both sides of 0, then logarithmic.

    The linear zone is shaded, and the decades beyond it, up to `reach`, are labelled;
    of many decades, every second or third from the outermost on.
    """
    axis = getattr(axes, f"{along}axis")
    getattr(axes, f"set_{along}scale")("symlog", linthresh=linear, linscale=0.6)
    shade = axes.axvspan if along == "x" else axes.axhspan
    shade(-linear, linear, color=QUIET, alpha=0.12, linewidth=0, zorder=0)
    decades = np.arange(np.floor(np.log10(reach)), np.log10(linear) - 1e-9, -1)
    powers = 10.0 ** decades[:: max(1, -(-len(decades) // 3))]
    axis.set_ticks([*-powers, 0, *powers[::-1]])
    axis.set_minor_locator(NullLocator())


def require_rows(rows: Sequence[Statistics], what: str) -> None:
    """Refuse to draw a figure of nothing."""
    if not rows:
        raise PlottingError(f"no rows to draw: {what} needs at least one")


def png(figure: Figure, dots_per_inch: int = 160) -> bytes:
    """The figure as a PNG, the same bytes for the same figure."""
    return _render(figure, "png", dots_per_inch)


def save(figure: Figure, path: str | Path) -> Path:
    """Write the figure to `path` as its suffix says, whole or not at all.

    Raises:
        PlottingError: the suffix is none of .pdf, .png, .svg.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise PlottingError(
            f"cannot write a figure to {path}: end the name in one of {SUFFIXES}"
        )
    return write_whole(path, _render(figure, path.suffix.lower()[1:], 300))


def _make_drawable(text: Any) -> None:
    """Show a text literally where it only looks like mathematics, as a name may."""
    text.set_text(text.get_text().encode("utf-8", "backslashreplace").decode())
    lines = text.get_text().split("\n")  # each is drawn by itself
    if is_math_text(text.get_text()) and not all(map(_can_be_parsed, lines)):
        text.set_parse_math(False)


@functools.cache  # tick labels come again in every format and figure
def _can_be_parsed(line: str) -> bool:
    try:
        MathTextParser("path").parse(line)
    except ValueError:
        return False
    return True


def _render(figure: Figure, kind: str, dots_per_inch: int) -> bytes:
    # Vector formats stamp the time unless told not to.
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        for text in figure.findobj(Text):
            _make_drawable(text)
        figure.savefig(buffer, format=kind, dpi=dots_per_inch, metadata=metadata)
    return buffer.getvalue()
