"""A mixture of Gaussians as the prior, with all parameters learned.

    p(z) = sum_c weight_c N(z; loc_c, covariance_c)

The covariances are diagonal, as in the literature, or full. The mixture starts spread
out, with locations N(0, 1/2) and variances 1/2: on average it has the mean and the
covariance of the standard normal distribution.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaejax.core import DistParams, Encode, Key, Params, Prior, unknown
from vaejax.families import (
    FullNormalParams,
    MixtureParams,
    NormalParams,
    diagonal_normal,
    full_normal,
    shared_mixture,
)

# A component's family, and its parameters from a location and logarithms of scales.
COVARIANCES = {
    "diagonal": (lambda dim: diagonal_normal(), NormalParams),
    "full": (
        full_normal,
        lambda loc, log_scale: FullNormalParams(loc, jnp.diag(log_scale)),
    ),
}


def gaussian_mixture(
    latent_dim: int = 50, num_components: int = 10, covariance: str = "diagonal"
) -> Prior:
    """Learned weights, locations and covariances of C normal components.

    Args:
        latent_dim: number of latents.
        num_components: C.
        covariance: of each component, `diagonal` or `full`.

    References:
        Dilokthanakul et al. 2016, arXiv:1611.02648; the "MoG" baseline of Tomczak and
        Welling 2018, arXiv:1705.07120.
    """
    if covariance not in COVARIANCES:
        raise unknown("covariance", covariance, COVARIANCES)
    family, params = COVARIANCES[covariance]
    scale = math.sqrt(0.5)

    def init(key: Key) -> MixtureParams:
        loc = scale * jax.random.normal(key, (num_components, latent_dim))
        log_scale = jnp.full(latent_dim, math.log(scale))
        components = jax.vmap(lambda own: params(own, log_scale))(loc)
        return MixtureParams(jnp.zeros(num_components), components)

    def apply(encode: Encode, params: Params, y: Array | None) -> DistParams:
        return params.prior

    return Prior(
        name="gaussian_mixture",
        family=shared_mixture(family(latent_dim), num_components),
        init=init,
        apply=apply,
    )
