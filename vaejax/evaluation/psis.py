"""The Pareto shape k of importance weights: whether their mean can be trusted.

The tail of the weights is fitted by a generalised Pareto distribution of shape k, which
has finite moments up to order 1/k: below 0.5 the variance of the weights is finite,
above 0.7 the estimate is unreliable at any practical sample size.

Source: Vehtari et al. 2024, arXiv:1507.02646; the fit is Zhang and Stephens 2009.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Scalar


def tail_size(num_samples: int) -> int:
    """How many of S weights count as the tail: min(S / 5, 3 sqrt(S))."""
    return math.ceil(min(0.2 * num_samples, 3 * math.sqrt(num_samples)))


def pareto_shape(log_tail: Float[Array, " M_plus_1"]) -> Scalar:
    """K of the M largest log-weights over the next one, given in falling order.

    NaN where the tail holds fewer than five weights; 0 where they agree to one part in
    a thousand, as with an exact posterior: what they differ by is rounding, no tail.
    """
    size = log_tail.shape[0] - 1
    if size < 5:
        return jnp.full((), jnp.nan)
    weights = jnp.exp(log_tail - log_tail[0])
    exceedances = (weights[:-1] - weights[-1])[::-1]  # rising
    num_grid = 30 + math.isqrt(size)
    grid = 1 - jnp.sqrt(num_grid / (jnp.arange(1, num_grid + 1) - 0.5))
    quartile = exceedances[int(size / 4 + 0.5) - 1]
    tiny = jnp.finfo(exceedances.dtype).tiny
    theta = grid / (3 * jnp.maximum(quartile, tiny)) + 1 / jnp.maximum(
        exceedances[-1], tiny
    )

    def shape_at(theta: Scalar) -> Scalar:
        return jnp.log1p(-theta * exceedances).mean()

    shapes = jax.vmap(shape_at)(theta)
    profile = size * (jnp.log(-theta / shapes) - shapes - 1)
    theta_mean = jnp.dot(jax.nn.softmax(profile), theta)
    shape = shape_at(theta_mean)
    # The weakly informative prior of Vehtari et al. (appendix C): ten draws at 1/2.
    shape = (size * shape + 10 * 0.5) / (size + 10)
    return jnp.where(exceedances[-1] < 1e-3, 0.0, shape)
