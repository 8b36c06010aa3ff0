"""Formats of packages that are extras: .h5ad of anndata, data sets of Hugging Face."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from vaejax.core import kind_of
from vaejax.data.own.pictures import as_pixels, stacked
from vaejax.data.own.raw import Asked, Raw, expect_named, own_splits, sizes_of
from vaejax.data.own.tables import from_table
from vaejax.data.types import Column, DataError

DISK = ("dataset_dict.json", "state.json")  # files of `datasets.save_to_disk`


def is_hugging_face(folder: Path) -> bool:
    """True if `datasets` has saved a data set in this folder."""
    return any((folder / name).exists() for name in DISK)


def read_h5ad(path: Path, asked: Asked) -> Raw:
    """Read X of an AnnData; `obs` holds labels and groups."""
    data = _import("anndata", path).read_h5ad(path)
    x = data.X if isinstance(data.X, np.ndarray) else data.X.toarray()
    kind = kind_of(x, levels=None)
    labels, groups = (
        _column(path, data.obs, list(data.obs.columns), name)
        for name in (asked.label_column, asked.group_column)
    )
    columns = tuple(Column(str(name), kind) for name in data.var_names)
    return Raw(x, labels, groups, columns)


def read_hugging_face(folder: Path, asked: Asked) -> Raw:
    """Read a data set of images or of columns; a single column of classes is labels.

    Raises:
        DataError: several columns of images; what `from_table` refuses.
    """
    datasets = _import("datasets", folder)
    loaded = datasets.load_from_disk(str(folder))
    parts, splits = [loaded], None
    if isinstance(loaded, datasets.DatasetDict):
        splits = own_splits(folder.name, loaded) if len(loaded) > 1 else None
        parts = [loaded[own] for own in (splits.values() if splits else loaded)]
    whole = datasets.concatenate_datasets(parts)

    def of_type(kind: type) -> list[str]:
        return [k for k, feature in whole.features.items() if isinstance(feature, kind)]

    images, classes = of_type(datasets.Image), of_type(datasets.ClassLabel)
    if asked.label_column is None and len(classes) == 1:
        asked = asked._replace(label_column=classes[0])
    if not images:
        raw = from_table(whole.with_format("arrow")[:], folder.name, asked)
    elif len(images) == 1:
        pixels = [as_pixels(image, asked.image_size) for image in whole[images[0]]]
        labels, groups = (
            _column(folder, whole, whole.column_names, name)
            for name in (asked.label_column, asked.group_column)
        )
        x = stacked(pixels, [f"image {i}" for i in range(len(pixels))])
        raw = Raw(x, labels, groups)
    else:
        raise DataError(
            f"{folder.name} has several columns of images, {', '.join(images)}: keep "
            "one of them, by `select_columns` of datasets"
        )
    if asked.label_column in classes:
        raw = raw._replace(class_names=tuple(whole.features[asked.label_column].names))
    return raw._replace(sizes=sizes_of(splits, parts))


def _column(
    path: Path, table: Any, known: list[str], name: str | None
) -> Shaped[np.ndarray, " N"] | None:
    if name is None:
        return None
    expect_named(path.name, "column", name, known)
    return np.array(list(table[name]), object)


def _import(package: str, path: Path) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{path.name} is read by {package}, which is not installed: pip install "
            f"{package}"
        ) from error
