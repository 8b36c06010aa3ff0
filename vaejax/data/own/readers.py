"""The reader of every kind of file, by its suffix, and what a reader follows."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vaejax.core import VaejaxError
from vaejax.data.own.arrays import read_npy, read_npz
from vaejax.data.own.extras import is_hugging_face, read_h5ad, read_hugging_face
from vaejax.data.own.pictures import read_pictures
from vaejax.data.own.raw import Asked, Raw
from vaejax.data.own.tables import read_arrow, read_csv, read_parquet
from vaejax.data.types import DataError

COLUMNS = ("label_column", "group_column", "missing_value")


class Reader(NamedTuple):
    """A function that reads a file, and the fields of `Asked` that it follows."""

    read: Callable[[Path, Asked], Raw]
    follows: tuple[str, ...] = COLUMNS


READERS = {
    ".npy": Reader(read_npy, ("missing_value",)),
    ".npz": Reader(read_npz),
    ".csv": Reader(read_csv),
    ".parquet": Reader(read_parquet),
    ".arrow": Reader(read_arrow),
    ".h5ad": Reader(read_h5ad),
}
PICTURES = Reader(read_pictures, ("image_size",))
HUGGING_FACE = Reader(read_hugging_face, Asked._fields)
KINDS = (
    f"a folder of images, a data set that Hugging Face's datasets saved, or a file "
    f"{', '.join(READERS)}"
)


def read_path(path: Path, asked: Asked) -> Raw:
    """Read a file or a folder by the reader of its kind.

    Raises:
        DataError: nothing there, or nothing that the reader can use; a setting that
            says nothing about such a file.
    """
    reader = _reader_of(path)
    for name, value in asked._asdict().items():
        if value is not None and name not in reader.follows:
            raise DataError(
                f"{name} is {value!r}, which says nothing about {path}: leave it out"
            )
    try:
        return reader.read(path, asked)
    except (VaejaxError, MemoryError):
        raise
    except Exception as error:  # libraries raise errors of many types
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise DataError(
            f"{path} cannot be read as {path.suffix or 'a folder'} ({reason}): save it "
            "anew, or give it the suffix of what it is"
        ) from error


def _reader_of(path: Path) -> Reader:
    if not os.path.exists(path):
        raise DataError(f"there is nothing at {path}: give {KINDS}")
    if path.is_dir():
        return HUGGING_FACE if is_hugging_face(path) else PICTURES
    if path.suffix.lower() not in READERS or not path.is_file():
        raise DataError(f"{path} is no file that vaejax reads: give {KINDS}")
    return READERS[path.suffix.lower()]
