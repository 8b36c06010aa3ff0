"""The kinds of a table's columns, proposed from their values.

    0 and 1                                                    bernoulli
    whole numbers from 0, at most 10 of them                   categorical:C
    other whole numbers from 0, variance at most 10 means      poisson
    positive numbers whose logarithm is less skewed            log_normal:LOC:SCALE
    others                                                     normal:LOC:SCALE

A proposal, to be read: whole numbers may be codes of classes, counts or measurements,
and their values alone do not say which.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaejax.core import VaejaxError

FEW = 10  # classes that are taken for classes unasked


class Schema(NamedTuple):
    """A word for each column, as `columns` takes them, and the reason for it."""

    columns: tuple[str, ...]
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        """A line for each column."""
        return "\n".join(
            f"column {number}: {word}, as {reason}"
            for number, (word, reason) in enumerate(zip(*self, strict=True))
        )


def schema_of(x: Float[np.ndarray, "N D"]) -> Schema:
    """Propose the kind of every column of a table; NaN is a missing value.

    Args:
        x: the training split; classes as their numbers from 0.

    Raises:
        VaejaxError: no table of numbers, infinite values, or a column without values.

    Examples:
        >>> table = np.array([[0, 3.5, 17], [1, np.nan, 25], [1, -2.5, 21]])
        >>> print(schema_of(table))
        column 0: bernoulli, as its values are 0 and 1
        column 1: normal:0.5:3, as its values are real numbers
        column 2: poisson, as its values are whole numbers from 0, as counts
    """
    x = np.asarray(x)
    if not (np.issubdtype(x.dtype, np.number) or x.dtype == bool):
        raise VaejaxError(
            f"x is of dtype {x.dtype}: give a table of numbers, the classes of a "
            "column of words as their numbers from 0"
        )
    if x.ndim != 2 or not x.size:
        raise VaejaxError(f"x is of shape {x.shape}: give a table, [rows, columns]")
    if np.isinf(x).any():
        raise VaejaxError("x has values that are not finite: leave them out, or as NaN")
    found = [_word(number, column) for number, column in enumerate(x.T.astype(float))]
    return Schema(*zip(*found, strict=True))


def _word(number: int, column: Float[np.ndarray, " N"]) -> tuple[str, str]:
    """The word for a column, and the reason."""
    values = column[~np.isnan(column)]
    if not values.size:
        raise VaejaxError(f"column {number} has no value: leave the column out")
    distinct = np.unique(values)
    whole = (distinct == np.rint(distinct)).all() and distinct[0] >= 0
    if set(distinct) == {0, 1}:
        return "bernoulli", "its values are 0 and 1"
    if whole and len(distinct) > 1 and distinct[-1] < FEW:
        classes = int(distinct[-1]) + 1
        return f"categorical:{classes}", f"its values are few, from 0 to {classes - 1}"
    if whole and len(distinct) > 1 and values.var() <= 10 * values.mean():
        return "poisson", "its values are whole numbers from 0, as counts"
    if distinct[0] > 0 and 1 < _skewness(values) > abs(_skewness(np.log(values))):
        return _with_units("log_normal", np.log(values)), (
            "its values are positive and heavy-tailed"
        )
    return _with_units("normal", values), "its values are real numbers"


def _skewness(values: Float[np.ndarray, " N"]) -> float:
    scale = values.std()
    return float(np.mean((values - values.mean()) ** 3) / scale**3) if scale else 0.0


def _with_units(kind: str, values: Float[np.ndarray, " N"]) -> str:
    return f"{kind}:{values.mean():.6g}:{values.std() or 1:.6g}"
