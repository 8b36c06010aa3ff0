"""Distributions over one event: the only place where distrax lives."""

from collections.abc import Callable

from vaejax.core import Family
from vaejax.families.bernoulli import bernoulli
from vaejax.families.hierarchical_normal import Layers, hierarchical_normal
from vaejax.families.normal import NormalParams, diagonal_normal, fixed_normal

FAMILIES: dict[str, Callable[..., Family]] = {
    "bernoulli": bernoulli,
    "diagonal_normal": diagonal_normal,
    "fixed_normal": fixed_normal,
}

__all__ = [
    "FAMILIES",
    "Layers",
    "NormalParams",
    "bernoulli",
    "diagonal_normal",
    "fixed_normal",
    "hierarchical_normal",
]
