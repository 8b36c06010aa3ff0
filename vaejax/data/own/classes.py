"""Labels and groups of any values, as numbers."""

import numpy as np
from jaxtyping import Int, Shaped

from vaejax.data.types import DataError

UNKNOWN = -1  # the label of an example whose class is missing


def number_classes(
    name: str, labels: Shaped[np.ndarray, "..."] | None
) -> tuple[Int[np.ndarray, " N"] | None, tuple[str, ...]]:
    """Labels as numbers from 0, -1 where one is missing, and the classes' names.

    Whole numbers from 0 are kept, and have no names; others are numbered in order.

    Raises:
        DataError: more than one label for an example; real numbers.
    """
    if labels is None:
        return None, ()
    if labels.ndim != 1:
        raise DataError(
            f"the labels of {name} are of shape {labels.shape}: give one class for "
            "each example"
        )
    given = labels.tolist()
    known = sorted({label for label in given if not _is_missing(label)}, key=_rank)
    if any(isinstance(label, float) and label != int(label) for label in known):
        raise DataError(
            f"the labels of {name} are real numbers: name a column of classes, or no "
            "label"
        )
    if all(isinstance(label, int | float) and label >= UNKNOWN for label in known):
        names: tuple[str, ...] = ()
        numbers = {label: int(label) for label in known}
    else:
        names = tuple(map(str, known))
        numbers = {label: i for i, label in enumerate(known)}
    return np.array([numbers.get(one, UNKNOWN) for one in given], np.int32), names


def number_groups(groups: Shaped[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Groups as numbers from 0."""
    return np.unique([str(group) for group in groups], return_inverse=True)[1]


def _is_missing(label: object) -> bool:
    return label is None or label != label  # NaN alone differs from itself


def _rank(label: object) -> tuple[str, object]:
    """Numbers in their order, texts in theirs."""
    return ("", label) if isinstance(label, int | float) else (str(label), "")
