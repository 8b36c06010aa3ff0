"""Regular files alone: a pipe's reader may wait forever, a link leads elsewhere."""

import errno
import os
import stat
from pathlib import Path
from typing import IO


def read_small(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    A pipe, whose reader may wait forever, and a larger file, which could fill the
    memory, are not opened.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is larger.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if found.st_size <= most:
        with path.open("rb") as file:
            content = file.read(most + 1)  # the file may have grown
        if len(content) <= most:
            return content
    raise ValueError(f"it has more than {most:,} bytes")


def open_regular(path: Path, mode: str) -> IO[str]:
    """Open a text file of ours, new or old, for other purposes than one whole read.

    Raises:
        OSError: it is a link, a pipe or a folder, or it cannot be opened.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(errno.EINVAL, f"{path.name} is not a regular file", str(path))

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)

    return open(path, mode, encoding="utf-8", errors="backslashreplace", opener=opener)
