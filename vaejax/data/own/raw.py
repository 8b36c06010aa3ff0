"""What a reader is asked, and what it returns: the values of a file as they are."""

from collections.abc import Collection, Mapping, Sequence, Sized
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from vaejax.core import unknown
from vaejax.data.types import Column, DataError

# How the splits are named in files; the first name is ours.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}


class Asked(NamedTuple):
    """The settings of `open` that a reader follows."""

    image_size: int | None = None
    label_column: str | None = None
    group_column: str | None = None
    missing_value: float | str | None = None


class Raw(NamedTuple):
    """The examples of a file, of all splits one after the other."""

    x: Shaped[np.ndarray, " N *event"]
    labels: Shaped[np.ndarray, " N"] | None = None  # of any values
    groups: Shaped[np.ndarray, " N"] | None = None
    columns: tuple[Column, ...] = ()
    class_names: tuple[str, ...] = ()  # of labels that are numbered already
    sizes: Mapping[str, int] | None = None  # of the splits, if the file has its own


def own_splits(name: str, found: Collection[str]) -> dict[str, str] | None:
    """The file's name of every split, or None if the file has no splits.

    Raises:
        DataError: a training split without a test split, or the reverse.
    """
    own = {
        split: spelling
        for split, spellings in SPLITS.items()
        for spelling in spellings
        if spelling in found
    }
    if not own:
        return None
    if missing := [split for split in ("train", "test") if split not in own]:
        raise DataError(
            f"{name} has the splits {', '.join(own.values())} and no {missing[0]} "
            "split: add one, or give all examples as one part"
        )
    return own


def sizes_of(
    splits: Mapping[str, str] | None, parts: Sequence[Sized]
) -> dict[str, int] | None:
    """The number of examples in every split, if the file has splits."""
    return None if splits is None else dict(zip(splits, map(len, parts), strict=True))


def expect_named(name: str, what: str, wanted: str, known: Collection[str]) -> None:
    """Refuse the name of a column or an array that the file does not have."""
    if wanted not in known:
        raise DataError(f"{name}: {unknown(what, wanted, known)}")


def without(
    x: Shaped[np.ndarray, "..."], missing: float | str | None
) -> Shaped[np.ndarray, "..."]:
    """The numbers, NaN in the place of the value that marks what is missing."""
    try:
        mark = np.nan if missing is None else float(missing)
    except ValueError:  # a text, which no number equals
        return x
    found = x == mark
    return np.where(found, np.nan, x) if found.any() else x
