"""The run that another one replaces: set aside until the other has saved something.

OUT/.vaejax_moving      its files on their way there, or on their way back
OUT/.vaejax_set_aside   all of its files: the others in OUT are the new run's
OUT/.vaejax_replaced    on their way out

One rename leads from each of these folders to the next, so that `heal` makes a whole
run, the old one or the new one, of what a killed process leaves behind. The file
`MARKER` is in each of them, from before the first file until after the last: without
it a folder is somebody else's, and left alone.
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
    """Move the run's files, of these names, out of the way.

    Raises:
        VaejaxError: one of the folders is there, and not empty.
    """
    for side in (MOVING, ASIDE, REPLACED):
        if (out / side).exists() and os.listdir(out / side):
            raise VaejaxError(f"{out / side} is in the way of a run: move it away")
    (out / MOVING).mkdir(exist_ok=True)
    (out / MOVING / MARKER).touch()
    for name in names:
        if os.path.lexists(out / name):
            (out / name).rename(out / MOVING / name)
    (out / MOVING).rename(out / ASIDE)


def put_back(out: Path, names: Collection[str]) -> None:
    """Return the run set aside, if there is one, to the place of the new one."""
    if _is_ours(out / ASIDE):
        remove(out, names)
        (out / ASIDE).rename(out / MOVING)
    if _is_ours(out / MOVING):
        for name in os.listdir(out / MOVING):
            if name != MARKER:
                (out / MOVING / name).rename(out / name)
        _remove_side(out / MOVING)


def drop(out: Path) -> None:
    """Remove the run set aside, if there is one: the new one has a state on disk."""
    if _is_ours(out / ASIDE):
        (out / ASIDE).rename(out / REPLACED)
    _remove_side(out / REPLACED)


def is_left(out: Path) -> bool:
    """True if a process was killed in the middle of replacing a run."""
    return any(_is_ours(out / side) for side in (MOVING, ASIDE, REPLACED))


def heal(out: Path, names: Collection[str]) -> None:
    """Finish what a killed process left: the old run, unless the new one was saved."""
    _remove_side(out / REPLACED)
    put_back(out, names)


def find(out: Path, name: str) -> Path:
    """Where `heal` would take this file of the run from; nothing is moved."""
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
    """Remove one of our folders, its marker last; what cannot be now stays with it."""
    if _is_ours(side):
        with contextlib.suppress(OSError):
            remove(side, [name for name in os.listdir(side) if name != MARKER])
            if os.listdir(side) == [MARKER]:
                remove(side, [MARKER])
                side.rmdir()
