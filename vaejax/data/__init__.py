"""Data sets as arrays, with their splits and binarization protocols.

`load("mnist", "test")` is the one function; `render_sprites` draws what factors say.
tensorflow_datasets is imported only here, when prepared data is read or written, and
TensorFlow never.
"""

from vaejax.data.binarization import LEVELS, PROTOCOLS, Protocol
from vaejax.data.datasets import DATASETS, load
from vaejax.data.sprites import render_sprites, sprite_factors
from vaejax.data.types import DataError, DatasetInfo, ImageData

__all__ = [
    "DATASETS",
    "LEVELS",
    "PROTOCOLS",
    "DataError",
    "DatasetInfo",
    "ImageData",
    "Protocol",
    "load",
    "render_sprites",
    "sprite_factors",
]
