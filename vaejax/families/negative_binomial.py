"""Negative binomial counts: Poisson counts whose rates vary, by a gamma distribution.

    log p(x) = sum_i log Gamma(x_i + r_i) - log Gamma(r_i) - log x_i!
                     + r_i log(r_i / (r_i + m_i)) + x_i log(m_i / (r_i + m_i))

with mean m and dispersion d = 1 / r: the variance is m + d m^2 (the likelihood of
single-cell counts: Lopez et al. 2018, "Deep generative modeling for single-cell
transcriptomics"). As d tends to 0 it is the Poisson distribution.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.scipy.special import betaln
from jaxtyping import Array, Float

from vaejax.core import Family, Key, Scalar


class NegativeBinomialParams(NamedTuple):
    """Log mean and log dispersion of every coordinate."""

    log_mean: Float[Array, "*event"]
    log_dispersion: Float[Array, "*event"]


def negative_binomial() -> Family:
    """Independent negative binomial variables; no reparameterisation.

    Events are whole floats. `jax.random.poisson` needs the default (threefry)
    generator.
    """
    return Family(
        name="negative_binomial",
        sample=_sample,
        log_prob=_log_prob,
        mean=lambda params: jnp.exp(params.log_mean),
        outputs_per_coordinate=2,
        from_outputs=lambda outputs: NegativeBinomialParams(outputs[0], outputs[1]),
        to_outputs=lambda mean: jnp.stack(
            [jnp.log(jnp.maximum(mean, 1e-3)), jnp.zeros_like(mean)]
        ),
        space="counts",
    )


def _sample(key: Key, params: NegativeBinomialParams) -> Float[Array, "*event"]:
    # The samplers loop until they accept, which reverse mode cannot differentiate.
    log_mean, log_dispersion = stop_gradient(params)
    rate_key, count_key = jax.random.split(key)
    log_rate = jax.random.loggamma(rate_key, jnp.exp(-log_dispersion))
    rate = jnp.exp(log_rate + log_dispersion + log_mean)
    return jax.random.poisson(count_key, rate).astype(log_mean.dtype)


def _log_prob(params: NegativeBinomialParams, x: Float[Array, "*event"]) -> Scalar:
    r, odds = jnp.exp(-params.log_dispersion), params.log_mean + params.log_dispersion
    # The gamma functions of large r cancel; their beta function does not.
    ways = -betaln(x + 1, r) - jnp.log(x + r)
    log_p = ways - r * jax.nn.softplus(odds) - x * jax.nn.softplus(-odds)
    return log_p.reshape(-1).sum()
