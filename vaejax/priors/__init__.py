"""Priors over the latents: one file each."""

from collections.abc import Callable

from vaejax.core import Prior, Registry
from vaejax.core.build import check_calls
from vaejax.priors.autoregressive import autoregressive
from vaejax.priors.conditional_normal import conditional_normal
from vaejax.priors.dirichlet import laplace_dirichlet, symmetric_dirichlet
from vaejax.priors.exemplar import exemplar
from vaejax.priors.flow import flow
from vaejax.priors.gaussian_mixture import gaussian_mixture
from vaejax.priors.implicit_optimal import implicit_optimal
from vaejax.priors.learned import (
    learned,
    learned_bernoulli,
    learned_categorical,
    learned_diagonal_normal,
)
from vaejax.priors.standard_normal import standard_normal
from vaejax.priors.uniform_sphere import uniform_sphere
from vaejax.priors.vamp import vamp

PRIORS: Registry[Callable[..., Prior]] = Registry("prior") | {
    "standard_normal": standard_normal,
    "autoregressive": autoregressive,
    "conditional_normal": conditional_normal,
    "exemplar": exemplar,
    "flow": flow,
    "gaussian_mixture": gaussian_mixture,
    "implicit_optimal": implicit_optimal,
    "laplace_dirichlet": laplace_dirichlet,
    "learned_bernoulli": learned_bernoulli,
    "learned_categorical": learned_categorical,
    "learned_diagonal_normal": learned_diagonal_normal,
    "symmetric_dirichlet": symmetric_dirichlet,
    "uniform_sphere": uniform_sphere,
    "vamp": vamp,
}
check_calls(globals(), PRIORS)

__all__ = [
    "PRIORS",
    "autoregressive",
    "conditional_normal",
    "exemplar",
    "flow",
    "gaussian_mixture",
    "implicit_optimal",
    "laplace_dirichlet",
    "learned",
    "learned_bernoulli",
    "learned_categorical",
    "learned_diagonal_normal",
    "standard_normal",
    "symmetric_dirichlet",
    "uniform_sphere",
    "vamp",
]
