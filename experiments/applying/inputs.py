"""The data that a trained model is applied to, as they are stored."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vaejax.core import VaejaxError, unknown
from vaejax.data import DATASETS, find, load
from vaejax.data.archives import read_arrays
from vaejax.data.own.raw import Asked, Raw
from vaejax.data.own.readers import is_path, read_source
from vaejax.data.types import Column
from vaejax.trained import TrainedModel

# The settings by which a run's own data are divided as in its training.
OWN = (
    *("image_size", "split_seed", "label_column", "group_column", "missing_value"),
    "split",
)

LARGEST = 2**31  # bytes of codes


class Given(NamedTuple):
    """Stored values, and labels where the model takes them."""

    x: np.ndarray
    y: np.ndarray | None


def read_data(run: TrainedModel, data: str, split: str | None) -> Given:
    """Read a split of a data set, or all examples of a file or a folder.

    The columns of a table are those of the run's table, by name.

    Args:
        run: what the data are for.
        data: a name in `DATASETS`, or a path.
        split: its name; None is test for a registered data set, and all of a path.

    Raises:
        VaejaxError: no such data; columns that are not those of the run.
    """
    if data in DATASETS or split is not None:
        asked = {} if data in DATASETS else _own(run)
        info = find(data, **asked)
        found = load(info, split or "test", data_dir=run.config.get("data_dir"))
        x, labels, columns = found.images, found.labels, info.columns
        if labels is not None and info.class_names:
            labels = np.array(info.class_names)[labels]
    else:
        raw = _read(run, Path(data))
        x, labels, columns = raw.x, raw.labels, raw.columns
    x = aligned(data, x, columns, run.recipe.columns)
    return Given(
        x, None if labels is None or not _needs(run) else _numbers(run, labels)
    )


def read_codes(path: Path) -> tuple[list[np.ndarray], np.ndarray | None]:
    """The codes that --to encode wrote to a .npz file, and their labels if any.

    Raises:
        VaejaxError: no such file, or none with codes.
    """
    try:
        found = read_arrays(path, LARGEST)
    except (OSError, ValueError) as error:
        raise VaejaxError(
            f"cannot read codes from {path} ({error}): give the .npz file that --to "
            "encode wrote"
        ) from error
    z = [array for name, array in found.items() if name.split("_")[0] == "z"]
    if not z:
        raise VaejaxError(
            f"{path} holds {', '.join(found) or 'nothing'}, and no codes z: give the "
            ".npz file that --to encode wrote"
        )
    return z, found.get("y")


def label_of(run: TrainedModel, word: str) -> Any:
    """The label that a word stands for: the name of a class, or its number.

    Raises:
        VaejaxError: neither.
    """
    if word in run.recipe.class_names:
        return word
    try:
        return int(word)
    except ValueError:
        names = run.recipe.class_names or ("a class's number",)
        raise unknown("class", word, names) from None


def _needs(run: TrainedModel) -> bool:
    """True if the model takes labels, and cannot do without."""
    return run.model.labels.num_classes is not None and not run.model.labels.unknown


def _numbers(run: TrainedModel, labels: Any) -> np.ndarray:
    """The labels as numbers, or as the names of the run's classes."""
    names = run.recipe.class_names
    return (
        np.array([str(label) for label in labels]) if names else np.asarray(labels, int)
    )


def _own(run: TrainedModel) -> dict[str, Any]:
    given = {name: run.config.get(name) for name in OWN}
    if given["split"] is not None:
        given["split"] = tuple(given["split"])
    return {name: value for name, value in given.items() if value is not None}


def _read(run: TrainedModel, path: Path) -> Raw:
    if not (path.exists() or is_path(path)):
        raise VaejaxError(
            f"{path} is no data set and no file: give the path of your data, or one of "
            f"{', '.join(sorted(DATASETS))}"
        )
    is_table = path.suffix.lower() not in (".npy", ".npz") and not path.is_dir()
    label = run.config.get("label_column") if _needs(run) else None
    missing = None if path.is_dir() else run.config.get("missing_value")
    size = run.config.get("image_size") if path.is_dir() else None
    asked = Asked(size, label if is_table else None, None, missing)
    return read_source(path, asked)[1]


def aligned(
    name: str,
    x: np.ndarray,
    columns: tuple[Column, ...],
    wanted: tuple[Column, ...],
) -> np.ndarray:
    """The columns that are wanted, by name, with the wanted numbers of categories.

    Args:
        name: of the data, for messages.
        x: values, [N, D].
        columns: what these are; () where they have no names, and stay as they are.
        wanted: the columns of the run.

    Raises:
        VaejaxError: a column that is missing, or of text in the place of numbers, or
            the reverse; a category that the run does not know.
    """
    if not (columns and wanted):
        return x
    places = {column.name: i for i, column in enumerate(columns)}
    found = []
    for column in wanted:
        if column.name not in places:
            raise VaejaxError(
                f"{name} has no column {column.name!r}, which the run was trained on: "
                f"it has {', '.join(places)}"
            )
        own = columns[places[column.name]]
        values = np.asarray(x[:, places[column.name]], float)
        if bool(own.categories) != bool(column.categories):
            here, there = ("text" if c.categories else "numbers" for c in (own, column))
            raise VaejaxError(
                f"column {column.name!r} of {name} holds {here}, and the run was "
                f"trained on {there}: give it as it was then"
            )
        if column.categories:
            unknown = [c for c in own.categories if c not in column.categories]
            if unknown:
                raise VaejaxError(
                    f"column {column.name!r} of {name} holds {unknown[0]!r}, and the "
                    f"run knows {', '.join(column.categories)}: leave such rows out"
                )
            numbers = np.array([column.categories.index(c) for c in own.categories])
            seen = ~np.isnan(values)
            values[seen] = numbers[values[seen].astype(int)]
        found.append(values)
    return np.stack(found, 1)
