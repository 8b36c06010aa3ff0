"""Distributions over one event; the only package that imports distrax."""

from collections.abc import Callable

from vaejax.core import Family, Registry
from vaejax.core.build import check_calls
from vaejax.families.bernoulli import bernoulli
from vaejax.families.beta import BetaParams, beta
from vaejax.families.categorical import categorical
from vaejax.families.categorical_levels import categorical_levels
from vaejax.families.chain import ChainParams, chain
from vaejax.families.columns import columns
from vaejax.families.continuous_bernoulli import continuous_bernoulli
from vaejax.families.dirichlet import dirichlet
from vaejax.families.discretized_logistic import LogisticParams, discretized_logistic
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
from vaejax.families.laplace import LaplaceParams, fixed_laplace, laplace
from vaejax.families.logit_normal import logit_normal
from vaejax.families.low_rank_normal import LowRankNormalParams, low_rank_normal
from vaejax.families.masked import masked
from vaejax.families.mixture import MixtureParams, mixture
from vaejax.families.mixture_of_discretized_logistics import (
    LogisticMixtureParams,
    mixture_of_discretized_logistics,
)
from vaejax.families.multinomial import multinomial
from vaejax.families.negative_binomial import NegativeBinomialParams, negative_binomial
from vaejax.families.normal import (
    NormalParams,
    diagonal_normal,
    fixed_normal,
    shared_normal,
)
from vaejax.families.optimal_normal import optimal_normal
from vaejax.families.pixel_beta import pixel_beta
from vaejax.families.point_mass import k_sparse, point_mass
from vaejax.families.poisson import poisson
from vaejax.families.schema import Schema, schema_of
from vaejax.families.shared_mixture import shared_mixture
from vaejax.families.truncated_normal import truncated_normal
from vaejax.families.von_mises_fisher import (
    VonMisesFisherParams,
    uniform_on_sphere,
    von_mises_fisher,
)

FAMILIES: Registry[Callable[..., Family]] = Registry("family") | {
    "bernoulli": bernoulli,
    "beta": beta,
    "categorical": categorical,
    "categorical_levels": categorical_levels,
    "continuous_bernoulli": continuous_bernoulli,
    "coupling_flow": coupling_flow,
    "diagonal_normal": diagonal_normal,
    "dirichlet": dirichlet,
    "discretized_logistic": discretized_logistic,
    "fixed_laplace": fixed_laplace,
    "fixed_normal": fixed_normal,
    "floored_normal": floored_normal,
    "full_normal": full_normal,
    "gamma": gamma,
    "householder_flow": householder_flow,
    "iaf": iaf,
    "laplace": laplace,
    "logit_normal": logit_normal,
    "low_rank_normal": low_rank_normal,
    "mixture": mixture,
    "mixture_of_discretized_logistics": mixture_of_discretized_logistics,
    "multinomial": multinomial,
    "negative_binomial": negative_binomial,
    "pixel_beta": pixel_beta,
    "planar_flow": planar_flow,
    "poisson": poisson,
    "radial_flow": radial_flow,
    "shared_normal": shared_normal,
    "spline_flow": spline_flow,
    "sylvester_flow": sylvester_flow,
    "truncated_normal": truncated_normal,
    "von_mises_fisher": von_mises_fisher,
}
check_calls(globals(), FAMILIES)

__all__ = [
    "FAMILIES",
    "BetaParams",
    "ChainParams",
    "FlowParams",
    "FullNormalParams",
    "GammaParams",
    "LaplaceParams",
    "LogisticMixtureParams",
    "LogisticParams",
    "LowRankNormalParams",
    "MixtureParams",
    "NegativeBinomialParams",
    "NormalParams",
    "Schema",
    "VonMisesFisherParams",
    "bernoulli",
    "beta",
    "categorical",
    "categorical_levels",
    "chain",
    "columns",
    "continuous_bernoulli",
    "coupling_flow",
    "diagonal_normal",
    "dirichlet",
    "discretized_logistic",
    "fixed_laplace",
    "fixed_normal",
    "floored_normal",
    "full_normal",
    "gamma",
    "householder_flow",
    "iaf",
    "k_sparse",
    "laplace",
    "logit_normal",
    "low_rank_normal",
    "masked",
    "mixture",
    "mixture_of_discretized_logistics",
    "multinomial",
    "negative_binomial",
    "optimal_normal",
    "pixel_beta",
    "planar_flow",
    "point_mass",
    "poisson",
    "radial_flow",
    "schema_of",
    "shared_mixture",
    "shared_normal",
    "spline_flow",
    "sylvester_flow",
    "truncated_normal",
    "uniform_on_sphere",
    "von_mises_fisher",
]
