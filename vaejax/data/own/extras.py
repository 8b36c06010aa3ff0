"""Formats of packages that are extras: .h5ad of anndata, data sets of Hugging Face."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.data.own.pictures import as_pixels, stacked
from vaejax.data.own.raw import Asked, Raw, expect_named, own_splits
from vaejax.data.own.tables import from_table
from vaejax.data.types import Column, DataError

DISK = ("dataset_dict.json", "state.json")  # files of `datasets.save_to_disk`


def is_hugging_face(folder: Path) -> bool:
    """True if `datasets` has saved a data set in this folder."""
    return any((folder / name).exists() for name in DISK)


def read_h5ad(path: Path, asked: Asked) -> Raw:
    """Read X of an AnnData; `obs` holds labels and groups."""
    data = _import("anndata", path).read_h5ad(path)
    for wanted in (asked.label_column, asked.group_column):
        if wanted is not None:
            expect_named(path.name, "column of obs", wanted, list(data.obs.columns))

    def values(column: str | None) -> np.ndarray | None:
        return None if column is None else np.array(data.obs[column], object)

    x = data.X if isinstance(data.X, np.ndarray) else data.X.toarray()
    return Raw(
        x,
        values(asked.label_column),
        values(asked.group_column),
        tuple(Column(str(name), "reals") for name in data.var_names),
    )


def read_hugging_face(folder: Path, asked: Asked) -> Raw:
    """Read a data set of images or of columns; a single column of classes is labels.

    Raises:
        DataError: several columns of images; what `from_table` refuses.
    """
    datasets = _import("datasets", folder)
    loaded = datasets.load_from_disk(str(folder))
    parts, sizes = [loaded], None
    if isinstance(loaded, datasets.DatasetDict):
        splits = own_splits(folder.name, loaded) if len(loaded) > 1 else None
        names = loaded if splits is None else splits.values()
        parts = [loaded[name] for name in names]
        sizes = splits and dict(zip(splits, map(len, parts), strict=True))
    whole = datasets.concatenate_datasets(parts)

    def of_type(kind: type) -> list[str]:
        return [k for k, feature in whole.features.items() if isinstance(feature, kind)]

    images, classes = of_type(datasets.Image), of_type(datasets.ClassLabel)
    if asked.label_column is None and len(classes) == 1:
        asked = asked._replace(label_column=classes[0])
    if len(images) > 1:
        raise DataError(
            f"{folder.name} has several columns of images, {', '.join(images)}: keep "
            "one of them, by `select_columns` of datasets"
        )
    names = (
        whole.features[asked.label_column].names
        if asked.label_column in classes
        else ()
    )
    table = whole.with_format("arrow")[:]
    if not images:
        raw = from_table(table, folder.name, asked)
        return raw._replace(sizes=sizes, class_names=tuple(names))
    for wanted in (asked.label_column, asked.group_column):
        if wanted is not None:
            expect_named(folder.name, "column", wanted, whole.column_names)
    pixels = [as_pixels(image, asked.image_size) for image in whole[images[0]]]

    def values(column: str | None) -> np.ndarray | None:
        return None if column is None else np.array(list(whole[column]), object)

    return Raw(
        stacked(pixels, [f"image {i}" for i in range(len(pixels))]),
        values(asked.label_column),
        values(asked.group_column),
        class_names=tuple(names),
        sizes=sizes,
    )


def _import(package: str, path: Path) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{path.name} is read by {package}, which is not installed: pip install "
            f"{package}"
        ) from error
