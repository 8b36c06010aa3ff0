"""Archives of arrays, .npz files: read without pickled objects."""

import io
from pathlib import Path

import numpy as np

from vaejax.data.files import read_small


def read_arrays(path: Path, most: int) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file of at most `most` bytes, by name.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is larger, or it holds anything else.
    """
    content = read_small(path, most)
    try:
        with np.lib.npyio.NpzFile(io.BytesIO(content)) as arrays:  # unpickles nothing
            return dict(arrays)
    except Exception as error:  # of many types
        raise ValueError(f"{path.name} holds no arrays: {error}") from error
