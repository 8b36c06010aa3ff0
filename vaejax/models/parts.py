"""The parts of a model by name: its posterior, its prior and its likelihood.

Settings that follow from the model, such as the number of latents, are filled in.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any

import numpy as np

from vaejax.core import Family, Prior, Registry, VaejaxError, build, head_of
from vaejax.core.build import checked
from vaejax.core.factories import settings_of
from vaejax.families import FAMILIES, k_sparse, optimal_normal, point_mass
from vaejax.families.columns import columns
from vaejax.families.masked import masked
from vaejax.priors import PRIORS

Settings = Mapping[str, Any]
NONE: Settings = MappingProxyType({})

MISSING = inspect.Parameter(
    "missing", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool
)


def with_missing(factory: Callable[..., Family]) -> Callable[..., Family]:
    """The factory with one more setting, `missing`: NaN in x marks what is missing."""

    @wraps(factory)
    def make(*args: Any, missing: bool = False, **settings: Any) -> Family:
        family = factory(*args, **settings)
        return masked(family) if missing else family

    taken = [*settings_of(factory).values(), MISSING]
    make.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    return checked(make)


# Families of one number per coordinate whose densities are finite on all data.
LIKELIHOODS: Registry[Callable[..., Family]] = Registry("likelihood") | {
    name: with_missing(FAMILIES[name])
    for name in (
        *("bernoulli", "continuous_bernoulli", "pixel_beta"),
        *("diagonal_normal", "fixed_normal", "shared_normal", "truncated_normal"),
        *("laplace", "fixed_laplace", "categorical_levels"),
        *("discretized_logistic", "mixture_of_discretized_logistics"),
        *("poisson", "negative_binomial"),
    )
}
LIKELIHOODS.update(
    multinomial=FAMILIES["multinomial"],  # its coordinates share one total
    columns=columns,  # always takes missing values
    optimal_normal=optimal_normal,  # not a distribution, and so not a posterior
)

# All distributions, and an autoencoder's code, which is not a distribution.
POSTERIORS: Registry[Callable[..., Family]] = Registry("posterior")
POSTERIORS.update(FAMILIES, point_mass=point_mass, k_sparse=k_sparse)


def named_posterior(name: str, settings: Settings, latent_dim: int) -> Family:
    """The family of this name in `POSTERIORS`, of `latent_dim` latents."""
    return build(POSTERIORS, name, (), {"dim": latent_dim}, **settings)


def named_prior(
    name: str,
    settings: Settings,
    posterior: Family,
    latent_dim: int,
    data_shape: tuple[int, ...],
    data_mean: np.ndarray | None,
    exemplars: np.ndarray | None = None,
) -> Prior:
    """The prior of this name in `PRIORS`, for a model with this posterior and data."""
    follows = {
        "posterior": posterior,
        "latent_dim": latent_dim,
        "num_categories": head_of(posterior).outputs_per_coordinate,
        "data_shape": data_shape,
        "data_mean": data_mean,
        "exemplars": exemplars,
    }
    return build(PRIORS, name, (), follows, **settings)


def named_likelihood(name: str, settings: Settings) -> Family:
    """The family of this name in `LIKELIHOODS`."""
    return build(LIKELIHOODS, name, **settings)


def refuse_missing(model: str, likelihood: Family) -> None:
    """Refuse a likelihood of observations with missing values."""
    if likelihood.space.missing:
        raise VaejaxError(
            f"{model} cannot encode what is missing, which its likelihood takes: use "
            "gaussian_mlp, or a likelihood without missing=True, and not columns"
        )


def refuse_own_weights(model: str, likelihood: Family) -> None:
    """Refuse a likelihood that has weights besides the decoder's."""
    if head_of(likelihood).weights is not None:
        raise VaejaxError(
            f"{model} cannot hold the parameters that {likelihood.name} learns "
            "besides the decoder: use another likelihood, such as fixed_normal"
        )
