"""Priors over the latents: one file each."""

from collections.abc import Callable

from vaejax.core import Prior
from vaejax.priors.learned import (
    learned,
    learned_bernoulli,
    learned_categorical,
    learned_diagonal_normal,
)
from vaejax.priors.standard_normal import standard_normal

PRIORS: dict[str, Callable[..., Prior]] = {
    "standard_normal": standard_normal,
    "learned_bernoulli": learned_bernoulli,
    "learned_categorical": learned_categorical,
    "learned_diagonal_normal": learned_diagonal_normal,
}

__all__ = [
    "PRIORS",
    "learned",
    "learned_bernoulli",
    "learned_categorical",
    "learned_diagonal_normal",
    "standard_normal",
]
