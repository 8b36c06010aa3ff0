"""The run that another one replaces: set aside until the other has saved something.

OUT/.moving      its files on their way there, or on their way back
OUT/.set_aside   all of its files: the others in OUT are the new run's
OUT/.replaced    on their way out

One rename leads from each of these folders to the next, so that `heal` makes a whole
run, the old one or the new one, of what a killed process leaves behind.
"""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

MOVING, ASIDE, REPLACED = ".moving", ".set_aside", ".replaced"


def set_aside(out: Path, names: Collection[str]) -> None:
    """Move the run's files, of these names, out of the way."""
    (out / MOVING).mkdir()
    for name in names:
        if os.path.lexists(out / name):
            (out / name).rename(out / MOVING / name)
    (out / MOVING).rename(out / ASIDE)


def put_back(out: Path, names: Collection[str]) -> None:
    """Return the run set aside, if there is one, to the place of the new one."""
    if (out / ASIDE).exists():
        remove(out, names)
        (out / ASIDE).rename(out / MOVING)
    if (out / MOVING).exists():
        for path in (out / MOVING).iterdir():
            path.rename(out / path.name)
        (out / MOVING).rmdir()


def drop(out: Path) -> None:
    """Remove the run set aside, if there is one: the new one has a state on disk."""
    if (out / ASIDE).exists():
        (out / ASIDE).rename(out / REPLACED)
    shutil.rmtree(out / REPLACED, ignore_errors=True)


def is_left(out: Path) -> bool:
    """Whether a process was killed in the middle of replacing a run."""
    return any((out / name).exists() for name in (MOVING, ASIDE, REPLACED))


def heal(out: Path, names: Collection[str]) -> None:
    """Finish what a killed process left: the old run, unless the new one was saved."""
    shutil.rmtree(out / REPLACED, ignore_errors=True)
    put_back(out, names)


def remove(out: Path, names: Collection[str]) -> None:
    """Remove these files and folders, in this order."""
    for name in names:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
