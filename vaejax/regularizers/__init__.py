"""Batch-level terms of the loss: one file each."""

from collections.abc import Callable

from vaejax.core import Regularizer
from vaejax.regularizers.capacity import capacity
from vaejax.regularizers.free_bits import free_bits
from vaejax.regularizers.mmd import mmd

REGULARIZERS: dict[str, Callable[..., Regularizer]] = {
    "capacity": capacity,
    "free_bits": free_bits,
    "mmd": mmd,
}

__all__ = ["REGULARIZERS", "capacity", "free_bits", "mmd"]
