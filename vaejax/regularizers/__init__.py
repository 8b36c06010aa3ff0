"""Batch-level terms of the loss, one per file."""

from collections.abc import Callable

from vaejax.core import Registry, Regularizer
from vaejax.core.build import check_calls
from vaejax.regularizers.adversarial import adversarial
from vaejax.regularizers.capacity import capacity
from vaejax.regularizers.density_ratio import density_ratio
from vaejax.regularizers.dip import dip_i, dip_ii
from vaejax.regularizers.free_bits import free_bits
from vaejax.regularizers.l1_codes import l1_codes
from vaejax.regularizers.mmd import mmd
from vaejax.regularizers.stratified_total_correlation import (
    stratified_total_correlation,
)
from vaejax.regularizers.total_correlation import total_correlation

REGULARIZERS: Registry[Callable[..., Regularizer]] = Registry("regularizer") | {
    "adversarial": adversarial,
    "capacity": capacity,
    "dip_i": dip_i,
    "dip_ii": dip_ii,
    "free_bits": free_bits,
    "l1_codes": l1_codes,
    "mmd": mmd,
    "stratified_total_correlation": stratified_total_correlation,
    "total_correlation": total_correlation,
}
check_calls(globals(), REGULARIZERS)

__all__ = [
    "REGULARIZERS",
    "adversarial",
    "capacity",
    "density_ratio",
    "dip_i",
    "dip_ii",
    "free_bits",
    "l1_codes",
    "mmd",
    "stratified_total_correlation",
    "total_correlation",
]
