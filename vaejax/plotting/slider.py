"""Rows of images behind a slider: one latent moves, the others stay."""

import base64
import html
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.image import imsave
from numpy.typing import ArrayLike

from vaejax.plotting.images import as_floats, gutter, mosaic
from vaejax.plotting.style import PlottingError, written

LARGE = 64  # pixels of the page for an image's longer side


class Slider(NamedTuple):
    """Rows of images, one for every position of a slider."""

    caption: str
    positions: Sequence[float]  # [P], written beside the slider
    rows: Sequence[ArrayLike]  # [P], each images as `image_grid` takes them


def slider_html(slider: Slider) -> str:
    """The slider as HTML: all rows are one picture, of which a window shows one.

    Raises:
        PlottingError: not a row for every position, rows that are no images, or rows
            of different shapes.
    """
    rows = [as_floats(row, slider.caption) for row in slider.rows]
    shapes = {row.shape for row in rows}
    if len(shapes) != 1 or rows[0].ndim != 4 or len(rows) != len(slider.positions):
        raise PlottingError(
            f"{slider.caption} has {len(rows)} rows of shapes {sorted(shapes)} for "
            f"{len(slider.positions)} positions: give a row for each, all of one shape "
            "[N, H, W, C]"
        )
    count, height, width, _ = rows[0].shape
    gap = gutter(height, width)
    # A gutter below every row, the last one too: all rows are equally high.
    strips = [np.pad(mosaic(row, count), ((0, gap), (0, 0), (0, 0))) for row in rows]
    picture = np.concatenate(strips)
    buffer = io.BytesIO()
    imsave(buffer, picture, format="png", metadata={"Software": ""})
    data = base64.b64encode(buffer.getvalue()).decode()
    scale = max(1, round(LARGE / max(height, width)))
    middle = len(rows) // 2
    caption = html.escape(slider.caption)
    labels = html.escape(" ".join(map(written, slider.positions)))
    return (
        f'<figure class="slider" style="--at: {middle}; '
        f"--width: {picture.shape[1] * scale}px; "
        f'--ratio: {picture.shape[1]} / {height}; --count: {len(rows)}">'
        f'<div class="window"><img alt="{caption}" '
        f'src="data:image/png;base64,{data}"></div>'
        f"<label>{caption} = <output>{written(slider.positions[middle])}</output>"
        f'<input type="range" min="0" max="{len(rows) - 1}" value="{middle}" '
        f'data-labels="{labels}"></label></figure>'
    )
