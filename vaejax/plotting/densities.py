"""Densities in the plane, side by side in one scale."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import MultipleLocator
from numpy.typing import ArrayLike

from vaejax.plotting.style import WIDTH, Picture, PlottingError, panels, styled


@styled
def densities(values: Mapping[str, ArrayLike], reach: float, title: str) -> Picture:
    """A panel for each density over the square from -reach to reach.

    Args:
        values: by name, the density on a grid, [S, S], the first axis that of z_1.
        reach: of the grid, in both coordinates.
        title: the figure's caption.

    Raises:
        PlottingError: no densities, or shapes that differ or are no square.
    """
    grids = {name: np.asarray(of, float) for name, of in values.items()}
    shapes = {grid.shape for grid in grids.values()}
    if [len(shape) == 2 and shape[0] == shape[1] for shape in shapes] != [True]:
        raise PlottingError(
            f"the densities have shapes {sorted(shapes)}: give one or more, all [S, S]"
        )
    side = WIDTH / len(grids)
    figure, axes = panels(
        len(grids), size=(side, side + 0.5), columns=len(grids), sharey=True
    )
    highest = max(grid.max() for grid in grids.values())
    for panel, (name, grid) in zip(axes, grids.items(), strict=True):
        panel.imshow(
            grid.T,
            origin="lower",
            extent=(-reach, reach, -reach, reach),
            vmin=0,
            vmax=highest,
            cmap="Greys",
        )
        panel.set_title(name)
        panel.xaxis.set_major_locator(MultipleLocator(2))
        panel.yaxis.set_major_locator(MultipleLocator(2))
        panel.set_xlabel("$z_1$")
        panel.grid(visible=False)
    axes[0].set_ylabel("$z_2$")
    figure.set_label(title)
    return figure
