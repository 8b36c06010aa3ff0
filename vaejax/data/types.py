"""The types of the data layer: the arrays of a split, and the record of a data set."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Kind, VaejaxError, record
from vaejax.core.doors import expect_counts
from vaejax.data.binarization import PROTOCOLS
from vaejax.data.standardize import Standardization


class DataError(VaejaxError):
    """Data that is missing, damaged, or requested with a protocol it does not allow."""


# The fields of `ImageData` that have a row for each example.
PER_EXAMPLE = ("images", "labels", "factors", "groups")


class ImageData(NamedTuple):
    """One split of a data set, in memory: images, word counts, or rows of a table.

    `images` holds the stored values in every split: intensities from 0 to 255, 0 and 1
    in a binary set, counts, or real numbers, NaN where one is missing. `observations`
    returns the input of a model.
    """

    # [N, H, W, C] uint8; of documents [N, V] uint16; of a table [N, D] float32
    images: np.ndarray
    labels: np.ndarray | None  # [N] int32
    factors: np.ndarray | None = None  # [N, F] int32 from 0, for synthetic images
    words: tuple[str, ...] | None = None  # the V words that are counted
    protocol: str | None = None  # a key of `PROTOCOLS`, used by `observations`
    groups: np.ndarray | None = None  # [N], equal where examples belong together

    def take(self, rows: np.ndarray) -> "ImageData":
        """The examples at these positions, or where these flags are true."""
        own = {name: getattr(self, name) for name in PER_EXAMPLE}
        kept = {k: array[rows] for k, array in own.items() if array is not None}
        return self._replace(**kept)

    def __repr__(self) -> str:
        """The shape of every array, the number of words, and the protocol."""
        arrays = {name: getattr(self, name) for name in PER_EXAMPLE}
        parts = [
            f"{name} {array.dtype}{list(array.shape)}"
            for name, array in arrays.items()
            if array is not None
        ]
        if self.words is not None:
            parts.append(f"{len(self.words):,} words")
        return f"ImageData({', '.join(parts)}, protocol {self.protocol})"

    def observations(
        self, seed: int = 0, rows: slice | np.ndarray = slice(None)
    ) -> Float[Array, "N ..."]:
        """Return the images as a model sees them, drawn once where the protocol draws.

        For training, draw anew at every use instead: `fit` takes the images, and the
        protocol's `sample` as `observe`.

        Args:
            seed: of the draw.
            rows: the ones that are wanted; all are drawn.

        Raises:
            DataError: the record names no protocol.
            VaejaxError: a seed that is no integer, as a key.
        """
        expect_counts(0, seed=seed)
        if self.protocol is None:
            raise DataError("these images have no protocol: take them from `load`")
        protocol = PROTOCOLS[self.protocol]
        fixed = protocol.fix(self.images, seed)
        return jax.vmap(protocol.as_float)(jnp.asarray(fixed[rows]))


class Column(NamedTuple):
    """A column of a table: its name, and what its values are."""

    name: str
    kind: Kind  # of its numbers; "one_hot" for categories
    categories: tuple[str, ...] = ()  # of text, whose values are 0, 1, ... as here


@record
class DatasetInfo:
    """A data set: its shape, its splits, and the protocols that it allows."""

    name: str
    shape: tuple[int, ...]  # H, W, C; for documents V, for a table D
    splits: tuple[str, ...]
    protocols: tuple[str, ...]  # the first is the default
    read: Callable[[str, Path], ImageData]  # (split, data_dir); raw pixels
    factor_names: tuple[str, ...] = ()  # names of the columns of `ImageData.factors`
    # Of a user's own data:
    found: str = ""  # a line that says what the values are
    missing: bool = False  # NaN marks values that are missing
    class_names: tuple[str, ...] = ()  # of the labels 0, 1, ...
    columns: tuple[Column, ...] = ()  # of a table
    standardization: Standardization | None = None  # that `read` has applied
    digest: str = ""  # of all values and labels, and of their splits


def default_data_dir() -> Path:
    """The folder of prepared data: $TFDS_DATA_DIR, or the default of TFDS."""
    return expand(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def expand(folder: Path | str) -> Path:
    """Expand ~ to the user's home. The ~ of an unknown user stays as it is."""
    return Path(os.path.expanduser(folder))
