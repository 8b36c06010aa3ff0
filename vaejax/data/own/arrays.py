"""Arrays by name, from .npy and .npz files and from a notebook.

x, y                               examples, and their classes if there are any
x_train, y_train, x_test, y_test   the same in splits; x_validation, too
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.core import as_array, check_lengths
from vaejax.data.own.raw import Asked, Raw, expect_named, own_splits
from vaejax.data.types import DataError


def read_npy(path: Path, asked: Asked) -> Raw:
    """Read one array, x, without pickled objects."""
    with path.open("rb") as file:
        return from_arrays({"x": np.lib.format.read_array(file)}, path.name, asked)


def read_npz(path: Path, asked: Asked) -> Raw:
    """Read arrays by name, without pickled objects."""
    with path.open("rb") as file, np.lib.npyio.NpzFile(file) as arrays:
        return from_arrays(arrays, path.name, asked)


def from_arrays(arrays: Mapping[str, Any], name: str, asked: Asked) -> Raw:
    """The examples x of arrays by name, or x_train, x_test and so on.

    Args:
        arrays: by name, every one [N, ...].
        name: of the file, for messages.
        asked: `label_column` names other labels than y, `group_column` the groups.

    Raises:
        DataError: arrays of other names, or of other shapes in other splits.
        VaejaxError: arrays of unequal lengths.
    """
    endings = {"": ""}
    if "x" not in arrays:
        own = own_splits(name, [key[2:] for key in arrays if key.startswith("x_")])
        if own is None:
            raise DataError(
                f"{name} holds the arrays {', '.join(arrays) or 'none'}: name the "
                "examples x, or x_train and x_test"
            )
        endings = {split: f"_{spelling}" for split, spelling in own.items()}

    def parts(kind: str) -> list[np.ndarray]:
        for ending in endings.values():
            expect_named(name, "array", kind + ending, arrays)
        keys = [kind + ending for ending in endings.values()]
        return [np.atleast_1d(as_array(key, arrays[key])) for key in keys]

    def joined(kind: str | None) -> np.ndarray | None:
        return None if kind is None else _joined(name, kind, parts(kind))

    has_y = any("y" + ending in arrays for ending in endings.values())
    x = parts("x")
    labels = joined(asked.label_column or ("y" if has_y else None))
    groups = joined(asked.group_column)
    sizes = dict(zip(endings, map(len, x), strict=True))
    whole = _joined(name, "x", x)
    check_lengths(x=whole, labels=labels, groups=groups)
    return Raw(whole, labels, groups, sizes=None if "" in sizes else sizes)


def _joined(name: str, kind: str, parts: list[np.ndarray]) -> np.ndarray:
    shapes = [part.shape for part in parts]
    if len({shape[1:] for shape in shapes}) > 1:
        raise DataError(
            f"the splits of {name} have {kind} of the shapes "
            f"{', '.join(map(str, shapes))}: give all examples one shape"
        )
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
