"""A number for every row and column, as shades about a neutral middle."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps

from vaejax.plotting.style import (
    WIDTH,
    Picture,
    PlottingError,
    panels,
    styled,
    written,
)


@styled
def heat_map(
    values: Mapping[str, Sequence[float]],
    columns: Sequence[str],
    what: str,
    *,
    across: str,
    span: tuple[float, float],
) -> Picture:
    """Numbers in cells: blue above the middle of the span, red below it.

    Args:
        values: a number for each column, by the row's name.
        columns: their names.
        what: the numbers are, for the colour bar.
        across: what the columns are, for the axis.
        span: between which the shades run; its middle is white.

    Raises:
        PlottingError: no rows, or one of another length than the columns.
    """
    lengths = {len(row) for row in values.values()}
    if lengths != {len(columns)} or not columns:
        raise PlottingError(
            f"the rows have {sorted(lengths) or 'no'} numbers for {len(columns)} "
            "columns: give one row or more, with a number for each column"
        )
    grid = np.array(list(values.values()), float)
    figure, (axes,) = panels(1, size=(WIDTH, 0.8 + 0.27 * len(grid)))
    low, high = span
    colours = colormaps["RdBu"]
    drawn = axes.imshow(grid, cmap=colours, vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        strength = abs(2 * (value - low) / (high - low) - 1)
        axes.text(
            column,
            row,
            written(value),
            ha="center",
            va="center",
            fontsize=7.5,
            color="white" if strength > 0.7 else "black",
        )
    axes.set_xticks(range(len(columns)), columns)
    axes.set_xlabel(across)
    axes.set_yticks(range(len(grid)), list(values))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, label=what, pad=0.02)
    figure.set_label(f"{what.capitalize()}; blue is above the middle, red below it.")
    return figure
