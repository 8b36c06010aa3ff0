"""Reads of whole regular files, up to a limit of bytes."""

import errno
import stat
from pathlib import Path


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
