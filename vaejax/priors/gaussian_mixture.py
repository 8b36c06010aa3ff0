"""A mixture of Gaussians as the prior, all of it learned.

    p(z) = sum_c weight_c N(z; loc_c, diag(scale_c^2))

It starts spread out: with locations N(0, 1/2) and variances 1/2, that is, with the mean
and the covariance of the standard normal distribution on average.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaejax.core import DistParams, Encode, Key, Params, Prior
from vaejax.families import MixtureParams, NormalParams, shared_mixture


def gaussian_mixture(latent_dim: int = 50, num_components: int = 10) -> Prior:
    """Learned weights, locations and scales of C diagonal normal components.

    Args:
        latent_dim: number of latents.
        num_components: C.

    References:
        Dilokthanakul et al. 2016, arXiv:1611.02648; the "MoG" baseline of Tomczak and
        Welling 2018, arXiv:1705.07120.
    """
    shape = num_components, latent_dim
    scale = math.sqrt(0.5)

    def init(key: Key) -> MixtureParams:
        loc = scale * jax.random.normal(key, shape)
        spread = jnp.full(shape, math.log(scale))
        return MixtureParams(jnp.zeros(num_components), NormalParams(loc, spread))

    def apply(encode: Encode, params: Params, y: Array | None) -> DistParams:
        return params.prior

    return Prior(
        name="gaussian_mixture",
        family=shared_mixture(num_components=num_components),
        init=init,
        apply=apply,
    )
