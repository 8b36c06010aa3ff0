"""Several versions of the same examples, a row each."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from vaejax.plotting.images import TILE, as_floats, gutter, mosaic
from vaejax.plotting.style import WIDTH, Picture, PlottingError, panels, styled


@styled
def image_rows(rows: Mapping[str, ArrayLike], title: str) -> Picture:
    """Images in rows that are named at their left, one below the other.

    Args:
        rows: by name, images as of `image_grid`, [N, H, W, C], all of one shape.
        title: stands above.

    Raises:
        PlottingError: no rows, or rows of different shapes, or of no images.
    """
    images = [as_floats(row, name) for name, row in rows.items()]
    shapes = {row.shape for row in images}
    if len(shapes) != 1 or images[0].ndim != 4:
        raise PlottingError(
            f"the rows have shapes {[row.shape for row in images]}: give one or more, "
            "all [N, H, W, C] of one shape"
        )
    count, height, width, _ = images[0].shape
    tiles = mosaic(np.concatenate(images), count)
    gap = gutter(height, width)
    scale = min(TILE / max(height, width), (WIDTH - 1.4) / tiles.shape[1])
    size = (tiles.shape[1] * scale + 1.4, tiles.shape[0] * scale + 0.35)
    figure, (axes,) = panels(1, size=size)
    axes.imshow(tiles)
    centres = [(height - 1) / 2 + i * (height + gap) for i in range(len(images))]
    axes.set_yticks(centres, list(rows))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title)
    figure.set_label(title)
    return figure
