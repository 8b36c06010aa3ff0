"""Priors over the latents: one file each."""

from collections.abc import Callable

from vaejax.core import Prior
from vaejax.priors.learned_bernoulli import learned_bernoulli
from vaejax.priors.learned_normal import learned_normal
from vaejax.priors.standard_normal import standard_normal

PRIORS: dict[str, Callable[..., Prior]] = {
    "standard_normal": standard_normal,
    "learned_bernoulli": learned_bernoulli,
    "learned_normal": learned_normal,
}

__all__ = ["PRIORS", "learned_bernoulli", "learned_normal", "standard_normal"]
