"""Symmetric Dirichlet priors on topic proportions, and their Laplace approximation.

    theta ~ Dirichlet(a, ..., a)          a below 1: few topics a document

In the basis z of theta = softmax(z), where the density of theta is proportional to
prod_k theta_k^a_k, the Laplace approximation is the normal distribution with

    loc_k = log a_k - 1/K sum_i log a_i
    variance_k = 1/a_k (1 - 2/K) + 1/K^2 sum_i 1/a_i

which leaves out the off-diagonal covariances: the covariance is the pseudo-inverse of
the curvature at the mode, softmax(loc) = a / sum a.

Source: MacKay 1998, "Choice of basis for Laplace approximation"; Srivastava and Sutton
2017, arXiv:1703.01488, equation 3.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import DistParams, Encode, Params, Prior, VaejaxError
from vaejax.families import NormalParams, diagonal_normal, dirichlet


def symmetric_dirichlet(latent_dim: int = 50, concentration: float = 1.0) -> Prior:
    """A fixed Dirichlet distribution of vectors that sum to one.

    Args:
        latent_dim: K, the length of a vector.
        concentration: a, of every coordinate.

    Raises:
        VaejaxError: a concentration that is not positive.
    """
    _check(concentration)

    def apply(encode: Encode, params: Params, y: Array | None) -> DistParams:
        return jnp.full(latent_dim, math.log(concentration))

    return Prior(
        name="symmetric_dirichlet",
        family=dirichlet(),
        init=lambda key: (),
        apply=apply,
    )


def laplace_dirichlet(latent_dim: int = 50, concentration: float = 1.0) -> Prior:
    """Real z whose softmax approximately follows `symmetric_dirichlet`.

    Args:
        latent_dim: K, the number of latents.
        concentration: a, of every coordinate of the softmax.

    Raises:
        VaejaxError: a concentration that is not positive.
    """
    _check(concentration)

    def apply(encode: Encode, params: Params, y: Array | None) -> NormalParams:
        return laplace_approximation(jnp.full(latent_dim, concentration))

    return Prior(
        name="laplace_dirichlet",
        family=diagonal_normal(),
        init=lambda key: (),
        apply=apply,
    )


def laplace_approximation(concentration: Float[Array, " K"]) -> NormalParams:
    """The Laplace approximation to the density of z, where softmax(z) ~ Dirichlet(a).

    Args:
        concentration: a, K of at least 2.
    """
    log_a, inverse = jnp.log(concentration), 1 / concentration
    variance = inverse * (1 - 2 / len(inverse)) + inverse.mean() / len(inverse)
    return NormalParams(log_a - log_a.mean(), 0.5 * jnp.log(variance))


def _check(concentration: float) -> None:
    if not 0 < concentration < math.inf:
        raise VaejaxError(
            f"concentration is {concentration}: use a finite number above 0, such as 1"
        )
