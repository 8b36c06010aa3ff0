"""The normal likelihood at the maximum-likelihood scale of each image.

    log p*(x) = max_sigma sum_i log N(x_i; loc_i, sigma^2)
              = -D/2 (log(2 pi sigma*^2) + 1),    sigma*^2 = mean_i (x_i - loc_i)^2

(sigma-VAE: Rybkin, Daniilidis and Levine 2021, arXiv:2006.13202, with the optimum of
each image by itself). Its gradient is that of a normal at sigma*, which balances the
reconstruction against the KL by itself.

It is not a density of x: the scale is read off the x that is scored, so that exp(log
p*) does not integrate to one. It is for training: do not compare its bound or its
"log-likelihood" with another likelihood's, or report either in bits.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Event, Family, Key, Scalar, VaejaxError
from vaejax.core.build import checked
from vaejax.families.heads import one_output


@checked
def optimal_normal(min_scale: float = 1e-3) -> Family:
    """Normal variables at the best scale of each event; the parameter is the mean.

    It has no density and no samples: without an x there is no scale.

    Args:
        min_scale: the smallest scale, without which a perfect mean were worth infinity.
    """
    if not 0 < min_scale < math.inf:
        raise VaejaxError(f"min_scale is {min_scale}: use a finite number above 0")

    def log_prob(loc: Float[Array, "*event"], x: Float[Array, "*event"]) -> Scalar:
        square = jnp.square((x - loc).reshape(-1)).mean()
        variance = jnp.maximum(square, min_scale**2)
        return -x.size / 2 * (jnp.log(2 * jnp.pi * variance) + square / variance)

    return Family(
        name="optimal_normal",
        sample=_refuse,
        log_prob=log_prob,
        mean=lambda loc: loc,
        head=one_output(lambda mean: mean),
        normalized=False,
    )


def _refuse(key: Key, loc: Float[Array, "*event"]) -> Event:
    raise VaejaxError(
        "optimal_normal has no scale without an x, and so no samples: use its mean, or "
        "shared_normal"
    )
