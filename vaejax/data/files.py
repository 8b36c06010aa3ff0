"""Files of a known kind, read whole: nothing endless, and nothing beyond its limit."""

import errno
import stat
from pathlib import Path


def read_small(path: Path, most: int) -> bytes:
    """The content of a file of at most so many bytes.

    A pipe would keep its reader waiting, and a sparse file of a few blocks could fill
    the memory: neither is opened.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is larger.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if found.st_size <= most:
        with path.open("rb") as file:
            content = file.read(most + 1)  # it may have grown
        if len(content) <= most:
            return content
    raise ValueError(f"it has more than {most:,} bytes")
