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
from vaejax.priors.uniform_sphere import uniform_sphere

PRIORS: dict[str, Callable[..., Prior]] = {
    "standard_normal": standard_normal,
    "learned_bernoulli": learned_bernoulli,
    "learned_categorical": learned_categorical,
    "learned_diagonal_normal": learned_diagonal_normal,
    "uniform_sphere": uniform_sphere,
}

__all__ = [
    "PRIORS",
    "learned",
    "learned_bernoulli",
    "learned_categorical",
    "learned_diagonal_normal",
    "standard_normal",
    "uniform_sphere",
]
