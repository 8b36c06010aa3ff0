"""Batch-level terms of the loss: one file each."""

from collections.abc import Callable

from vaejax.core import Regularizer
from vaejax.regularizers.mmd import mmd

REGULARIZERS: dict[str, Callable[..., Regularizer]] = {"mmd": mmd}

__all__ = ["REGULARIZERS", "mmd"]
