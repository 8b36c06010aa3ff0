"""Prepare a data set for TFDS, completely or not at all.

The set is built in a hidden folder beside the final one and renamed at the end. The
process that builds in the folder locks it, and the lock ends with the process: the next
run finds the folder of a killed run unlocked, and clears it.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaejax.data.raw import read_raw
from vaejax.data.sources import Source
from vaejax.data.types import DataError

REPLACED = "replaced"  # in the hidden folder: the set to replace, until deleted


class AlreadyPreparedError(DataError):
    """The data set is there, and was not to be replaced."""

    def __init__(self, name: str, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{name} is already prepared at {path}: use --overwrite to prepare the "
            "data set again"
        )


def prepare(
    source: Source, raw_dir: Path | None, data_dir: Path, overwrite: bool = False
) -> Path:
    """Write `source` to data_dir/name/version and return that folder.

    Args:
        source: one of `SOURCES`.
        raw_dir: the folder of the raw files; None downloads them.
        data_dir: the root of prepared data.
        overwrite: replace what is already there.

    Raises:
        AlreadyPreparedError: the data set is there, without `overwrite`.
        DataError: raw files missing or damaged, or a folder that is not writable.
    """
    final = data_dir / source.name / source.version
    if final.exists() and not overwrite:
        raise AlreadyPreparedError(source.name, final)
    splits = read_raw(source, raw_dir)

    from vaejax.data.builders import build  # imports tensorflow_datasets

    try:
        with _working_folder(data_dir, source.name, final) as folder:
            build(source, splits, folder)
            final.parent.mkdir(exist_ok=True)
            if final.exists():
                final.rename(folder / REPLACED)
            (folder / source.name / source.version).rename(final)
    except OSError as error:
        raise DataError(
            f"cannot write {source.name} under {data_dir}: {error.strerror or error}. "
            "Give a folder that you can write to, with --data-dir"
        ) from error
    return final


@contextmanager
def _working_folder(data_dir: Path, name: str, final: Path) -> Iterator[Path]:
    """Yield an empty, locked folder, and delete it afterwards, also after an error.

    A prepared set that was moved there is moved back if no new set replaced it.
    """
    folder = data_dir / f".preparing_{name}"
    made = [path for path in (data_dir, *data_dir.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"another process is preparing {name} in {data_dir}; wait for it"
            ) from None
        _put_back(folder / REPLACED, final)
        for left_behind in folder.iterdir():
            shutil.rmtree(left_behind)
        try:
            yield folder
        finally:
            _put_back(folder / REPLACED, final)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
        with suppress(OSError):  # a folder that is not empty, nor those above it
            for path in made:
                path.rmdir()


def _put_back(replaced: Path, final: Path) -> None:
    if replaced.exists() and not final.exists():
        replaced.rename(final)
