"""Checks of the arrays of a user: their types, lengths and finiteness."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.errors import VaejaxError


def as_array(name: str, given: Any) -> Any:
    """Convert to an array of NumPy or JAX; numbers get a dtype that JAX can take.

    Raises:
        VaejaxError: lists of unequal lengths; a masked array, whose mask would be lost.
    """
    if isinstance(given, jax.Array):
        return given
    if np.ma.isMaskedArray(given):
        raise VaejaxError(
            f"{name} is a masked array, and its mask would be lost: fill in the "
            f"masked values, as {name}.filled(0) does, or leave such examples out"
        )
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise VaejaxError(
            f"{name} is not an array ({error}): give all its rows one shape"
        ) from error
    wide = jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize > 8
    return array.astype(float) if wide else array


def is_true(flag: Any) -> bool:
    """True if the flag is known to be true; False for a traced flag."""
    return not isinstance(flag, jax.core.Tracer) and bool(flag)


def check_finite(**arrays: Any) -> None:
    """Refuse named arrays, with an axis of examples, that hold NaN or an infinity.

    Raises:
        VaejaxError: naming the array and the examples.
    """
    for name, given in arrays.items():
        values = np.asarray(as_array(name, given))
        wrong = ~np.isfinite(values.reshape(len(values), -1)).all(1)
        if wrong.any():
            raise VaejaxError(
                f"{name} is not finite in "
                f"{count_of(np.flatnonzero(wrong), len(wrong))}: leave these examples "
                "out, or check whether a model diverged"
            )


def check_lengths(**arrays: Any) -> None:
    """Refuse named arrays with unequal numbers of examples; None is left out.

    Raises:
        VaejaxError: naming all arrays and their shapes.
    """
    shapes = {k: np.shape(given) for k, given in arrays.items() if given is not None}
    lengths = {shape[:1] for shape in shapes.values()}
    if len(lengths) > 1 or () in lengths:
        listed = ", ".join(f"{name} is of shape {shapes[name]}" for name in shapes)
        raise VaejaxError(f"{listed}: use one row of each for every example")


def count_of(rows: Any, total: int) -> str:
    """The number of examples out of a total and the first few rows, in words."""
    listed = ", ".join(map(str, rows[:5])) + ", ..." * (len(rows) > 5)
    return f"{len(rows):,} of {total:,} examples ({listed})"
