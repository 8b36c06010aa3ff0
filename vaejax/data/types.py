"""What the data layer speaks in: arrays of one split, and how to get them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaejax.core import VaejaxError, record


class DataError(VaejaxError):
    """Data that is missing, damaged, or asked for in a way that it does not allow."""


class ImageData(NamedTuple):
    """One split of a data set, in memory: of images, or of documents as word counts."""

    images: np.ndarray  # [N, H, W, C] uint8; of documents [N, V] uint16
    labels: np.ndarray | None  # [N] int32
    factors: np.ndarray | None = None  # [N, F] int32, each from 0; of synthetic images
    words: tuple[str, ...] | None = None  # the V words that are counted


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
