"""Distributions over one event: the only place where distrax lives."""

from collections.abc import Callable

from vaejax.core import Family
from vaejax.families.bernoulli import bernoulli
from vaejax.families.beta import BetaParams, beta
from vaejax.families.categorical import categorical
from vaejax.families.dirichlet import dirichlet
from vaejax.families.floored_normal import floored_normal
from vaejax.families.flows import (
    FlowParams,
    coupling_flow,
    householder_flow,
    iaf,
    planar_flow,
    radial_flow,
    spline_flow,
    sylvester_flow,
)
from vaejax.families.full_normal import FullNormalParams, full_normal
from vaejax.families.gamma import GammaParams, gamma
from vaejax.families.hierarchical import Layers, LayersParams, hierarchical
from vaejax.families.logit_normal import logit_normal
from vaejax.families.low_rank_normal import LowRankNormalParams, low_rank_normal
from vaejax.families.mixture import MixtureParams, mixture
from vaejax.families.normal import NormalParams, diagonal_normal, fixed_normal
from vaejax.families.poisson import poisson
from vaejax.families.shared_mixture import shared_mixture
from vaejax.families.truncated_normal import truncated_normal
from vaejax.families.von_mises_fisher import (
    VonMisesFisherParams,
    uniform_on_sphere,
    von_mises_fisher,
)

FAMILIES: dict[str, Callable[..., Family]] = {
    "bernoulli": bernoulli,
    "beta": beta,
    "categorical": categorical,
    "coupling_flow": coupling_flow,
    "diagonal_normal": diagonal_normal,
    "dirichlet": dirichlet,
    "fixed_normal": fixed_normal,
    "floored_normal": floored_normal,
    "full_normal": full_normal,
    "gamma": gamma,
    "householder_flow": householder_flow,
    "iaf": iaf,
    "logit_normal": logit_normal,
    "mixture": mixture,
    "low_rank_normal": low_rank_normal,
    "planar_flow": planar_flow,
    "poisson": poisson,
    "radial_flow": radial_flow,
    "spline_flow": spline_flow,
    "sylvester_flow": sylvester_flow,
    "truncated_normal": truncated_normal,
    "von_mises_fisher": von_mises_fisher,
}

__all__ = [
    "FAMILIES",
    "BetaParams",
    "FlowParams",
    "FullNormalParams",
    "GammaParams",
    "Layers",
    "LayersParams",
    "LowRankNormalParams",
    "MixtureParams",
    "NormalParams",
    "VonMisesFisherParams",
    "bernoulli",
    "beta",
    "categorical",
    "coupling_flow",
    "diagonal_normal",
    "dirichlet",
    "fixed_normal",
    "floored_normal",
    "full_normal",
    "gamma",
    "hierarchical",
    "householder_flow",
    "iaf",
    "logit_normal",
    "low_rank_normal",
    "mixture",
    "planar_flow",
    "poisson",
    "radial_flow",
    "shared_mixture",
    "spline_flow",
    "sylvester_flow",
    "truncated_normal",
    "uniform_on_sphere",
    "von_mises_fisher",
]
