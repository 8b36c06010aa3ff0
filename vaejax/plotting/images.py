"""Grids of images, and of data that are not images.

Many images become one array with white gutters, drawn once: every pixel is a pixel of
the data, whatever its size, and a thousand images cost no more than ten.
"""

import numpy as np
from numpy.typing import ArrayLike

from vaejax.plotting.style import (
    COLOURS,
    WIDTH,
    Picture,
    PlottingError,
    panels,
    styled,
)

NOT_FINITE = (0.835, 0.369, 0.0)  # pixels that are not finite, in the alarm colour
BAND = 10  # originals side by side before the next pair of rows begins
TILE = 0.55  # inches
MOST_MARKED = 40  # a line of more points than this is drawn without markers


@styled
def image_grid(images: ArrayLike, title: str, columns: int | None = None) -> Picture:
    """Images in a grid, row by row; data that are no images as the rows of a matrix.

    Args:
        images: [N, H, W, C] or [N, H, W], floats in [0, 1] (clipped), C 1 or 3; or
            [N, D] for data that are no images. Pixels that are not finite turn orange.
        title: stands above the grid.
        columns: images in a row; the default makes the grid about square.

    Raises:
        PlottingError: another shape, or integers.
    """
    data = _floats(images, "images")
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
        axes.imshow(tiles, interpolation="none")
        axes.set_title(title)
        axes.axis("off")
    figure.set_label(title)
    return figure


@styled
def reconstructions(x: ArrayLike, mean: ArrayLike) -> Picture:
    """Originals above their reconstructions; data that are no images as curves.

    Args:
        x: the data, shaped as for `image_grid`.
        mean: the means of p(x | z), z from q(z | x), of the same shape.

    Raises:
        PlottingError: the shapes differ, another shape, or integers.
    """
    data, means = _floats(x, "x"), _floats(mean, "mean")
    if data.shape != means.shape:
        raise PlottingError(
            f"x {data.shape} and mean {means.shape} must have the same shape"
        )
    draw = _curves if data.ndim == 2 else _bands
    figure = draw(data, means)
    figure.set_label("Data and the means of their reconstructions.")
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


def _bands(data: np.ndarray, means: np.ndarray) -> Picture:
    count, height, width, _ = data.shape
    columns = min(count, BAND)
    gap = gutter(height, width)
    scale = TILE / max(height, width)
    wide, high = columns * (width + gap) * scale, 2 * (height + gap) * scale
    figure, axes = panels(-(-count // columns), size=(wide + 1, high + 0.1), columns=1)
    figure.get_layout_engine().set(w_pad=0.12)  # the row names hang over by 5 pixels
    for i, panel in enumerate(axes):
        # A short last band is filled with white, so that all bands have one scale.
        pair = np.ones((2, columns, *data.shape[1:]))
        members = slice(i * columns, (i + 1) * columns)
        for row, images in enumerate((data[members], means[members])):
            pair[row, : len(images)] = images
        panel.imshow(mosaic(pair.reshape(-1, *data.shape[1:]), columns))
        panel.set_yticks([height / 2, 1.5 * height + gap], ["data", "reconstruction"])
        panel.set_xticks([])
        panel.tick_params(length=0)
        panel.grid(visible=False)
        panel.spines[:].set_visible(False)
    return figure


def _curves(data: np.ndarray, means: np.ndarray) -> Picture:
    count, dims = data.shape
    figure, axes = panels(
        count, size=(WIDTH / 4, 1.2), columns=4, sharex=True, sharey=True
    )
    marker = ("o", "s") if dims <= MOST_MARKED else ("", "")
    for i, panel in enumerate(axes):
        panel.plot(data[i], "-", marker=marker[0], color=COLOURS[0], label="data")
        panel.plot(
            *(means[i], "--"),
            marker=marker[1],
            markerfacecolor="none",
            color=COLOURS[1],
            label="reconstruction",
        )
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=2)
    figure.supxlabel("dimension", fontsize=8)
    figure.supylabel("value", fontsize=8)
    return figure


def _floats(array: ArrayLike, name: str) -> np.ndarray:
    """The array as [N, D] or [N, H, W, C] of floats."""
    data = np.asarray(array)
    if data.dtype.kind in "iu":
        raise PlottingError(
            f"{name} holds integers ({data.dtype}): "
            "give floats in [0, 1], such as images / 255"
        )
    if data.ndim == 3:
        data = data[..., None]
    if (
        data.ndim not in (2, 4)
        or 0 in data.shape
        or (data.ndim == 4 and data.shape[-1] not in (1, 3))
    ):
        raise PlottingError(
            f"{name} has shape {np.shape(array)}: give [N, H, W, C] with C 1 or 3, "
            "[N, H, W], or [N, D], none of them empty"
        )
    return data.astype(float)
