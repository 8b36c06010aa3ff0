"""The files of results: arrays by name as .npz, a table as .parquet, images as .png."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vaejax.core import PyTree, VaejaxError
from vaejax.core.files import write_whole
from vaejax.data.types import Column


def by_name(name: str, tree: PyTree) -> dict[str, np.ndarray]:
    """The arrays of a tree by name: {"z": ...}, or {"z_0": ..., "z_1": ...}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(
            (jax.tree_util.GetAttrKey(name), *path), simple=True, separator="_"
        ): leaf
        for path, leaf in leaves
    }


def write(
    path: Path, arrays: Mapping[str, np.ndarray], columns: tuple[Column, ...]
) -> None:
    """Write arrays [N, ...] to a file of the kind that its suffix says.

    Args:
        path: of the file.
        arrays: by name.
        columns: of x, where x is a table.

    Raises:
        VaejaxError: arrays that such a file cannot hold.
    """
    WRITERS[path.suffix](path, arrays, columns)


def _npz(
    path: Path, arrays: Mapping[str, np.ndarray], columns: tuple[Column, ...]
) -> None:
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    write_whole(path, packed.getvalue())


def _parquet(
    path: Path, arrays: Mapping[str, np.ndarray], columns: tuple[Column, ...]
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table: dict[str, Any] = {}
    for name, array in arrays.items():
        flat = array.reshape(len(array), -1)
        if name == "x" and len(columns) == flat.shape[1]:
            named = zip(columns, flat.T, strict=True)
            table |= {column.name: _texts(column, values) for column, values in named}
        elif array.ndim == 1:
            table[name] = array
        else:
            table |= {f"{name}_{i}": values for i, values in enumerate(flat.T)}
    packed = io.BytesIO()
    parquet.write_table(pa.table(table), packed)
    write_whole(path, packed.getvalue())


def _texts(column: Column, values: np.ndarray) -> Any:
    """The categories of a column of text; other values as they are."""
    if not column.categories:
        return values
    last = len(column.categories) - 1
    return [column.categories[int(i)] for i in np.rint(values).clip(0, last)]


def _png(
    path: Path, arrays: Mapping[str, np.ndarray], columns: tuple[Column, ...]
) -> None:
    from vaejax.plotting import image_grid, save

    x = arrays.get("x")
    if x is None or x.ndim < 4 or x.shape[-1] not in (1, 3):
        raise VaejaxError(
            f"{path} is for images, and the results are none: use .npz or .parquet"
        )
    row = x.shape[1] if x.ndim == 5 else None  # the steps of an interpolation
    save(image_grid(x.reshape(-1, *x.shape[-3:]), path.stem, columns=row), path)


WRITERS = {".npz": _npz, ".parquet": _parquet, ".png": _png}
