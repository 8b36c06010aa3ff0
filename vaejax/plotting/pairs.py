"""Data beside the model's reconstructions."""

import numpy as np
from numpy.typing import ArrayLike

from vaejax.plotting.images import TILE, as_floats, gutter, mosaic
from vaejax.plotting.style import COLOURS, WIDTH, Picture, PlottingError, panels, styled

BAND = 10  # originals side by side before the next pair of rows begins
MOST_MARKED = 40  # a line of more points than this is drawn without markers


@styled
def reconstructions(x: ArrayLike, mean: ArrayLike) -> Picture:
    """Originals above their reconstructions; data that are no images as curves.

    Args:
        x: the data, shaped as for `image_grid`.
        mean: the means of p(x | z), z from q(z | x), of the same shape.

    Raises:
        PlottingError: the shapes differ, or are refused by `image_grid`.
    """
    data, means = as_floats(x, "x"), as_floats(mean, "mean")
    if data.shape != means.shape:
        raise PlottingError(
            f"x {data.shape} and mean {means.shape} must have the same shape"
        )
    draw = _curves if data.ndim == 2 else _bands
    figure = draw(data, means)
    figure.set_label("Data and the means of their reconstructions.")
    return figure


def _bands(data: np.ndarray, means: np.ndarray) -> Picture:
    count, height, width, _ = data.shape
    columns = min(count, BAND)
    gap = gutter(height, width)
    scale = TILE / max(height, width)
    wide, high = columns * (width + gap) * scale, 2 * (height + gap) * scale
    figure, axes = panels(-(-count // columns), size=(wide + 1, high + 0.1), columns=1)
    figure.set_layout_engine("constrained", w_pad=0.12)  # room for the row names
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
        panel.plot(data[i], "-", color=COLOURS[0], marker=marker[0], label="data")
        panel.plot(
            means[i],
            "--",
            color=COLOURS[1],
            marker=marker[1],
            markerfacecolor="none",
            label="reconstruction",
        )
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=2)
    figure.supxlabel("dimension", fontsize=8)
    figure.supylabel("value", fontsize=8)
    return figure
