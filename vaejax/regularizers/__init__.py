"""Batch-level terms of the loss: one file each."""

from collections.abc import Callable

from vaejax.core import Regularizer
from vaejax.regularizers.capacity import capacity
from vaejax.regularizers.density_ratio import density_ratio
from vaejax.regularizers.free_bits import free_bits
from vaejax.regularizers.l1_codes import l1_codes
from vaejax.regularizers.mmd import mmd

REGULARIZERS: dict[str, Callable[..., Regularizer]] = {
    "capacity": capacity,
    "free_bits": free_bits,
    "l1_codes": l1_codes,
    "mmd": mmd,
}

__all__ = [
    "REGULARIZERS",
    "capacity",
    "density_ratio",
    "free_bits",
    "l1_codes",
    "mmd",
]
