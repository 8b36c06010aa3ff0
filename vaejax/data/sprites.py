"""Sprites: a white shape on black, drawn from five known factors without any files.

    shape (square, ellipse, heart) x scale (6) x orientation (40) x x (32) x y (32)

are 737,280 binary images of 64x64 pixels, with the factors of dSprites (Matthey et al.
2017, github.com/deepmind/dsprites-dataset) but other drawings: a pixel is 1 where its
centre lies in the shape. Scales go from 0.5 to 1, orientations around the circle in
steps of 9 degrees, positions from pixel to pixel; no sprite touches the edge. A square
looks the same after 10 orientations, an ellipse after 20.

A split is a subset of the images, drawn in an order that a hash fixes.
"""

from functools import cache

import numpy as np
from jaxtyping import Int, UInt8

from vaejax.core import VaejaxError
from vaejax.data.splits import draw_split
from vaejax.data.types import ImageData

FACTOR_SIZES = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
SHAPES = ("square", "ellipse", "heart")
SIDE = 64
POSITIONS = FACTOR_SIZES["x"]
# Half a side of the largest square, in pixels; no pixel's centre is on an edge.
RADIUS = 9.7

_SIZES = tuple(FACTOR_SIZES.values())
NUM_SPRITES = int(np.prod(_SIZES))


def read_sprites(split: str, num_train: int, num_test: int) -> ImageData:
    """Return the "train" or "test" images with their factors; the labels are shapes.

    A larger training split extends a smaller one, and holds no test image.
    """
    index = draw_split("sprites", split, num_train, num_test, NUM_SPRITES)
    factors = sprite_factors(index)
    return ImageData(render_sprites(factors), factors[:, 0], factors)


def sprite_factors(index: Int[np.ndarray, " N"]) -> Int[np.ndarray, "N 5"]:
    """The factors of the sprites with these indices, 0 to 737,279; y varies fastest.

    Raises:
        VaejaxError: a number out of this range.
    """
    if index.size and not 0 <= index.min() <= index.max() < NUM_SPRITES:
        raise VaejaxError(
            f"there are {NUM_SPRITES:,} sprites, and the numbers asked for go from "
            f"{index.min():,} to {index.max():,}: use 0 to {NUM_SPRITES - 1:,}"
        )
    return np.stack(np.unravel_index(index, _SIZES), -1).astype(np.int32)


def render_sprites(factors: Int[np.ndarray, "N 5"]) -> UInt8[np.ndarray, "N 64 64 1"]:
    """Draw the sprites of these factors, each from 0 to its size in `FACTOR_SIZES`.

    Raises:
        VaejaxError: a factor out of its range.
    """
    if ((factors < 0) | (factors >= np.array(_SIZES))).any():
        ranges = [f"{name} 0 to {size - 1}" for name, size in FACTOR_SIZES.items()]
        raise VaejaxError(
            f"factors go from {factors.min(0)} to {factors.max(0)}, but sprites have "
            f"{', '.join(ranges)}: use factors in these ranges"
        )
    shape, scale, orientation, x, y = factors.T
    # Every image is a window of a larger one with the sprite in the middle.
    windows = np.lib.stride_tricks.sliding_window_view(
        _centred_sprites(), (SIDE, SIDE), axis=(3, 4)
    )
    last = POSITIONS - 1
    return windows[shape, scale, orientation, last - y, last - x][..., None]


@cache
def _centred_sprites() -> UInt8[np.ndarray, "3 6 40 S S"]:
    """Draw every shape, scale and orientation in the middle of 64 + 31 pixels."""
    num_scales, num_orientations = _SIZES[1:3]
    side = SIDE + POSITIONS - 1
    offset = np.arange(side) - (side - 1) / 2
    radius = RADIUS * np.linspace(0.5, 1, num_scales)[:, None, None, None]
    angle = 2 * np.pi * np.arange(num_orientations)[:, None, None] / num_orientations
    right, up = offset[None, :], -offset[:, None]
    u = (np.cos(angle) * right + np.sin(angle) * up) / radius
    v = (np.cos(angle) * up - np.sin(angle) * right) / radius
    return np.stack(
        [
            np.maximum(abs(u), abs(v)) <= 1,
            (u / 1.4) ** 2 + (v / 0.7) ** 2 <= 1,
            _in_heart(u / 1.1, v / 1.1),
        ]
    ).astype(np.uint8)


def _in_heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """True inside the sextic (u^2 + v^2 - 1)^3 = u^2 v^3, with the point down."""
    return (u**2 + v**2 - 1) ** 3 <= u**2 * v**3
