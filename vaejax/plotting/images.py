"""Grids of images, and of data that are not images.

Many images become one array with white gutters, drawn once: every pixel is a pixel of
the data, whatever its size, and a thousand images cost no more than ten.
"""

import numpy as np
from numpy.typing import ArrayLike

from vaejax.plotting.style import (
    WIDTH,
    Picture,
    PlottingError,
    panels,
    styled,
)

NOT_FINITE = (0.835, 0.369, 0.0)  # pixels that are not finite, in the alarm colour
TILE = 0.55  # inches of an image's longer side


@styled
def image_grid(images: ArrayLike, title: str, columns: int | None = None) -> Picture:
    """Images in a grid, row by row; data that are no images as the rows of a matrix.

    Args:
        images: [N, H, W, C] or [N, H, W], floats in [0, 1] (clipped), C 1 or 3; or
            [N, D] for data that are no images. Pixels that are not finite turn orange.
        title: stands above the grid.
        columns: images in a row; the default makes the grid about square.

    Raises:
        PlottingError: another shape, or integers above 1.
    """
    data = as_floats(images, "images")
    if data.ndim == 2:
        figure, (axes,) = panels(
            1, size=(WIDTH * 0.75, min(6.0, 1.2 + 0.1 * len(data)))
        )
        drawn = axes.imshow(data, aspect="auto", interpolation="none", cmap="viridis")
        axes.set(title=title, xlabel="dimension", ylabel="example")
        axes.grid(visible=False)
        figure.colorbar(drawn, ax=axes, label="value")
    else:
        count, height, width, _ = data.shape
        columns = min(count, columns or round((count * height / width) ** 0.5) or 1)
        tiles = mosaic(data, columns)
        scale = min(TILE / max(height, width), WIDTH / tiles.shape[1])
        size = (tiles.shape[1] * scale + 0.1, tiles.shape[0] * scale + 0.3)
        figure, (axes,) = panels(1, size=(max(size[0], 2.2), size[1]))
        axes.imshow(tiles)
        axes.set_title(title)
        axes.axis("off")
    figure.set_label(title)
    return figure


def mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """[N, H, W, C] as one [rows, columns, 3] array with white gutters."""
    count, height, width, _ = images.shape
    gap = gutter(height, width)
    rows = -(-count // columns)
    canvas = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    pixels = np.where(np.isfinite(images), images.clip(0, 1), NOT_FINITE)
    for i, image in enumerate(pixels):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def gutter(height: int, width: int) -> int:
    """The white pixels between two images."""
    return max(1, round(0.06 * max(height, width)))


def as_floats(array: ArrayLike, name: str) -> np.ndarray:
    """The array as [N, D] or [N, H, W, C] of floats."""
    data = np.asarray(array)
    if data.ndim == 3:
        data = data[..., None]
    no_image = data.ndim == 4 and data.shape[-1] not in (1, 3)
    if data.ndim not in (2, 4) or no_image or 0 in data.shape:
        raise PlottingError(
            f"{name} has shape {np.shape(array)}: give [N, H, W, C] with C 1 or 3, "
            "[N, H, W], or [N, D], none of them empty"
        )
    if data.ndim == 4 and data.dtype.kind in "iu" and data.max() > 1:
        raise PlottingError(
            f"{name} holds integers up to {data.max()}: "
            f"give floats in [0, 1], such as {name} / 255"
        )
    return data.astype(float)
