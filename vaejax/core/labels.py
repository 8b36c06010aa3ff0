"""The checks of labels: classes of examples, or positions in the training data."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaejax.core.arrays import is_true
from vaejax.core.errors import VaejaxError
from vaejax.core.model import Model


def check_labels(model: Model, y: Any, shape: tuple[int, ...]) -> Array | None:
    """Return the labels of examples of this shape as int32, or refuse them.

    Raises:
        VaejaxError: labels that are missing, no integers, or outside the classes; of a
            model whose prior leaves the own example out, others than positions.
    """
    labels = model.labels
    if y is None and (labels.num_classes is None or labels.unknown):
        return None
    if labels.positions:
        return _as_positions(y, shape)
    if labels.num_classes is None:
        y = y if isinstance(y, jax.Array) else np.asarray(y)
        number = y.dtype == bool or jnp.issubdtype(y.dtype, jnp.number)
        if not number or y.shape[: len(shape)] != shape:
            raise VaejaxError(
                f"y is {y.dtype} of shape {y.shape}, and x holds {shape} examples: "
                "give a numeric y for every example"
            )
        return jnp.asarray(y)
    last, least = labels.num_classes - 1, -1 if labels.unknown else 0
    takes = f"{model.name} takes integer labels y from 0 to {last}" + (
        ", or -1 where one is unknown" if least else ""
    )
    if y is None:
        raise VaejaxError(
            f"{takes}, and was given none: use Example(x, y), or a model and a prior "
            "that need no labels"
        )
    y = y if isinstance(y, jax.Array) else np.asarray(y)
    whole = y.dtype == bool or jnp.issubdtype(y.dtype, jnp.integer)
    if not whole or y.shape != shape:
        raise VaejaxError(
            f"{takes}, one for every example, [{', '.join(map(str, shape))}], and was "
            f"given {y.dtype} of shape {y.shape}: use Example(x, y) with such labels"
        )
    if not isinstance(y, jax.core.Tracer):
        values = np.asarray(y)
        wrong = np.argwhere((values < least) | (values > last))
        if len(wrong):
            place = tuple(map(int, wrong[0]))
            raise VaejaxError(
                f"{takes}, and {len(wrong):,} of {values.size:,} labels are others: "
                f"the first is {values[place]}, at y{list(place)}. Number the classes "
                "from 0, or set num_classes"
            )
    return jnp.asarray(y, jnp.int32)


POSITIONS = (
    "the prior leaves out the component of the example itself, and takes as y the "
    "position of the example in the training data, an integer from 0, or -1 for an "
    "example that is no exemplar"
)


def _as_positions(y: Any, shape: tuple[int, ...]) -> Array:
    """Return the positions of examples of this shape as int32, or refuse them."""
    y = y if isinstance(y, jax.Array) else np.asarray(y)
    if not jnp.issubdtype(y.dtype, jnp.integer) or y.shape != shape:
        raise VaejaxError(
            f"{POSITIONS}, one for every example, {shape}, and was given {y.dtype} of "
            f"shape {y.shape}: use Example(x, jnp.arange(len(x)))"
        )
    if is_true((y < -1).any()):
        raise VaejaxError(
            f"{POSITIONS}, and {int((y < -1).sum()):,} of {y.size:,} positions are "
            f"below -1, the lowest {int(y.min())}: use Example(x, jnp.arange(len(x)))"
        )
    return jnp.asarray(y, jnp.int32)


def check_positions(y: Any, count: int) -> None:
    """Refuse the positions of `count` training examples if missing or repeated.

    Raises:
        VaejaxError: no positions, others than from -1, or one that comes twice.
    """
    if y is None:
        raise VaejaxError(
            f"{POSITIONS}, and was given no y to train on: use Example(x, "
            "jnp.arange(len(x)))"
        )
    positions = np.asarray(_as_positions(y, (count,)))
    found, times = np.unique(positions[positions >= 0], return_counts=True)
    if (times > 1).any():
        raise VaejaxError(
            f"{POSITIONS}, and position {int(found[times.argmax()])} comes "
            f"{int(times.max()):,} times: use Example(x, jnp.arange(len(x)))"
        )
