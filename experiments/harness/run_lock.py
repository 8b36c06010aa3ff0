"""The lock of a run's folder: one process writes there, and detects its removal."""

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vaejax.core import VaejaxError
from vaejax.data.files import open_regular

LOCK = "lock"
_held: dict[Path, IO[str]] = {}  # the open lock files of this process


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder's lock file; the system releases it however the process ends.

    Raises:
        VaejaxError: another process holds it.
    """
    path = out / LOCK
    while True:
        with open_regular(path, "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read(100) or "just begun"
                raise VaejaxError(
                    f"another run is writing to {out} ({holder}): "
                    "wait for it, or use another --out"
                ) from None
            if not _is_at(file, path):
                continue  # its holder removed it between open and flock
            file.truncate(0)
            print(f"process {os.getpid()} on {platform.node()}", end="", file=file)
            file.flush()
            _held[path] = file
            try:
                yield
            finally:
                del _held[path]
                with contextlib.suppress(OSError):  # the folder is gone, or read-only
                    if _is_at(file, path):
                        path.unlink()
            return


def check_held(out: Path) -> None:
    """Raise a `VaejaxError` if the folder that this process locked was replaced.

    Another run may have started there since the removal.
    """
    file = _held.get(out / LOCK)
    if file is not None and not _is_at(file, out / LOCK):
        raise VaejaxError(
            f"the folder {out} was removed while this run was writing to it: start the "
            "run anew"
        )


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_running(out: Path) -> bool:
    """True if a process holds the run's lock."""
    try:
        with open_regular(out / LOCK, "r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no lock, or it is no file
        return False
    return False
