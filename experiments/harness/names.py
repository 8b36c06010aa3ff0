"""Names that are given once, and labels for a model that stands without a data set."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from vaejax.core import Model, VaejaxError
from vaejax.core.ranges import shown


def check_named_once(config: Any, *fields: str) -> None:
    """Raise a `VaejaxError` for a setting that holds a value twice."""
    for field in fields:
        value = getattr(config, field)
        if len(set(value)) < len(value):
            raise VaejaxError(f"{field} is {shown(value)}: name each one once")


def labels_in_turn(model: Model, count: int) -> Array | None:
    """Labels y for `count` examples, every class in turn; None for no classes."""
    classes = model.labels.num_classes
    return None if classes is None else jnp.arange(count) % classes
