"""Replacement of a run, which is set aside until the new run has saved a state.

OUT/.vaejax_moving      the old run's files while they are set aside or put back
OUT/.vaejax_set_aside   all of the old run's files; OUT has the new run's
OUT/.vaejax_replaced    the old run's files while they are removed

One rename leads from each of these folders to the next, so that `heal` restores a whole
run, the old one or the new one, after a process was killed. Each folder has the file
`MARKER`, from before its first file until after its last: a folder without `MARKER`
belongs to somebody else, and is left alone.
"""

import contextlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from vaejax.core import VaejaxError

MOVING, ASIDE, REPLACED = ".vaejax_moving", ".vaejax_set_aside", ".vaejax_replaced"
MARKER = ".vaejax_replaced_run"


def set_aside(out: Path, names: Collection[str]) -> None:
    """Set aside the run's files of these names.

    Raises:
        VaejaxError: one of the folders is there, and not empty.
    """
    for side in (MOVING, ASIDE, REPLACED):
        if (out / side).exists() and os.listdir(out / side):
            raise VaejaxError(
                f"{out / side} stands where a replaced run is set aside: move it away"
            )
    (out / MOVING).mkdir(exist_ok=True)
    (out / MOVING / MARKER).touch()
    for name in names:
        if os.path.lexists(out / name):
            (out / name).rename(out / MOVING / name)
    (out / MOVING).rename(out / ASIDE)


def put_back(out: Path, names: Collection[str]) -> None:
    """Put the run set aside, if there is one, back in the place of the new run."""
    if _is_ours(out / ASIDE):
        remove(out, names)
        (out / ASIDE).rename(out / MOVING)
    if _is_ours(out / MOVING):
        for name in os.listdir(out / MOVING):
            if name != MARKER:
                (out / MOVING / name).rename(out / name)
        _remove_side(out / MOVING)


def drop(out: Path) -> None:
    """Remove the run set aside, if there is one: the new run has a state on disk."""
    if _is_ours(out / ASIDE):
        (out / ASIDE).rename(out / REPLACED)
    _remove_side(out / REPLACED)


def is_left(out: Path) -> bool:
    """True if a process was killed in the middle of replacing a run."""
    return any(_is_ours(out / side) for side in (MOVING, ASIDE, REPLACED))


def heal(out: Path, names: Collection[str]) -> None:
    """Restore the old run after a kill, unless the new run was saved."""
    _remove_side(out / REPLACED)
    put_back(out, names)


def find(out: Path, name: str) -> Path:
    """The path from which `heal` would take a file of the run; nothing is moved."""
    if _is_ours(out / ASIDE):
        return out / ASIDE / name
    moving = out / MOVING / name
    return moving if _is_ours(out / MOVING) and moving.exists() else out / name


def remove(out: Path, names: Collection[str]) -> None:
    """Remove these files and folders, in this order."""
    for name in names:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_ours(side: Path) -> bool:
    return (side / MARKER).is_file()


def _remove_side(side: Path) -> None:
    """Remove one of the folders, its marker last; the marker stays with files left."""
    if _is_ours(side):
        with contextlib.suppress(OSError):
            remove(side, [name for name in os.listdir(side) if name != MARKER])
            if os.listdir(side) == [MARKER]:
                remove(side, [MARKER])
                side.rmdir()
