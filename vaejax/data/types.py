"""What the data layer speaks in: arrays of one split, and how to get them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import VaejaxError, record
from vaejax.data.binarization import PROTOCOLS


class DataError(VaejaxError):
    """Data that is missing, damaged, or asked for in a way that it does not allow."""


class ImageData(NamedTuple):
    """One split of a data set, in memory: of images, or of documents as word counts.

    `images` are as they are stored, in every split: intensities from 0 to 255, or 0 and
    1 of a set that is binary. `observations` are what a model sees.
    """

    images: np.ndarray  # [N, H, W, C] uint8; of documents [N, V] uint16
    labels: np.ndarray | None  # [N] int32
    factors: np.ndarray | None = None  # [N, F] int32, each from 0; of synthetic images
    words: tuple[str, ...] | None = None  # the V words that are counted
    protocol: str | None = None  # of `PROTOCOLS`, by which images become observations

    def observations(
        self, seed: int = 0, rows: slice | np.ndarray = slice(None)
    ) -> Float[Array, "N ..."]:
        """The images as a model sees them, drawn once where the protocol draws.

        To train on, draw anew at every use instead: `fit` takes the images, and the
        protocol's `sample` as `observe`.

        Args:
            seed: of the draw.
            rows: the ones that are wanted; all are drawn.

        Raises:
            DataError: the record names no protocol.
        """
        if self.protocol is None:
            raise DataError("these images have no protocol: take them from `load`")
        protocol = PROTOCOLS[self.protocol]
        fixed = protocol.fix(self.images, seed)
        return jax.vmap(protocol.as_float)(jnp.asarray(fixed[rows]))


@record
class DatasetInfo:
    """A data set: its shape, its splits, and the protocols that make sense for it."""

    name: str
    shape: tuple[int, ...]  # H, W, C; of documents V
    splits: tuple[str, ...]
    protocols: tuple[str, ...]  # the first is the default
    read: Callable[[str, Path], ImageData]  # (split, data_dir); raw pixels
    factor_names: tuple[str, ...] = ()  # of the columns of `ImageData.factors`


def default_data_dir() -> Path:
    """Where prepared data is: $TFDS_DATA_DIR, else TFDS's own default."""
    return expand(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def expand(folder: Path | str) -> Path:
    """The folder, its ~ the user's home. A ~ of an unknown user stays as it is."""
    return Path(os.path.expanduser(folder))
