"""Many numbers of a kind, such as the use of every code, from the greatest down."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from vaejax.plotting.style import (
    COLOURS,
    QUIET,
    Picture,
    PlottingError,
    panels,
    styled,
)


@styled
def bars_by_rank(
    values: Mapping[str, ArrayLike],
    what: str,
    among: str,
    reference: Mapping[str, float] | None = None,
) -> Picture:
    """A panel for each name, its numbers as bars from the greatest to the least.

    Two panels stand in a row, and share their axis.

    Args:
        values: by name, [N] numbers of at least 0, another N for each if need be.
        what: the numbers are, for the axis.
        among: what they are of, in order, for the other.
        reference: by name, a number to compare them with, as a dashed line.

    Raises:
        PlottingError: no names, or one without numbers.
    """
    ordered = {name: np.sort(np.ravel(of))[::-1] for name, of in values.items()}
    if not ordered or not all(of.size for of in ordered.values()):
        raise PlottingError("nothing to draw: give one name or more, each with numbers")
    figure, axes = panels(len(ordered), size=(3.25, 2.1), columns=2, sharey="row")
    for i, (name, of) in enumerate(ordered.items()):
        axes[i].bar(np.arange(1, of.size + 1), of, 1.0, color=COLOURS[i])
        if reference is not None:
            axes[i].axhline(reference[name], color=QUIET, linestyle="--", linewidth=0.9)
        axes[i].set(title=name, xlim=(0.5, of.size + 0.5), xlabel=among)
        axes[i].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[i].grid(visible=False, axis="x")
        if i % 2 == 0:
            axes[i].set_ylabel(what)
    figure.set_label(f"{what.capitalize()}, {among}.")
    return figure
