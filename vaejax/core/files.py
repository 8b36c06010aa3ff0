"""Atomic writes: a file is complete or absent."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> Path:
    """Write through a temporary file beside `path`: no reader sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:  # the error of a full disk names no file
        reason = error.strerror or str(error)
        raise OSError(error.errno, reason, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
