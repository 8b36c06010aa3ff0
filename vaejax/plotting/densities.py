"""Densities in the plane, side by side in one scale."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from vaejax.plotting.style import WIDTH, Picture, PlottingError, panels, styled


@styled
def densities(
    values: Mapping[str, ArrayLike], reach: float, title: str, columns: int = 2
) -> Picture:
    """A panel for each density over the square from -reach to reach.

    Args:
        values: by name, the density on a grid, [S, S], the first axis that of z_1.
        reach: of the grid, in both coordinates.
        title: the figure's caption.
        columns: panels in a row.

    Raises:
        PlottingError: no densities, or shapes that differ or are no square.
    """
    grids = {name: np.asarray(of, float) for name, of in values.items()}
    shapes = {grid.shape for grid in grids.values()}
    if [len(shape) == 2 and shape[0] == shape[1] for shape in shapes] != [True]:
        raise PlottingError(
            f"the densities have shapes {sorted(shapes)}: give one or more, all [S, S]"
        )
    side = WIDTH / 2 / columns * 1.4
    figure, axes = panels(
        len(grids), size=(side, side), columns=columns, sharex=True, sharey=True
    )
    highest = max(grid.max() for grid in grids.values())
    for i, (panel, (name, grid)) in enumerate(zip(axes, grids.items(), strict=True)):
        drawn = panel.imshow(
            grid.T,
            origin="lower",
            extent=(-reach, reach, -reach, reach),
            vmin=0,
            vmax=highest,
            cmap="Greys",
        )
        panel.set_title(name)
        panel.grid(visible=False)
        if i % columns == 0:
            panel.set_ylabel("$z_2$")
        if i >= len(grids) - columns:
            panel.set_xlabel("$z_1$")
    figure.colorbar(drawn, ax=list(axes), label="density", shrink=0.6)
    figure.set_label(title)
    return figure
