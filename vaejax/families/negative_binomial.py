"""Negative binomial counts: Poisson counts whose rates vary, by a gamma distribution.

    log p(x) = sum_i log Gamma(x_i + r_i) - log Gamma(r_i) - log x_i!
                     + r_i log(r_i / (r_i + m_i)) + x_i log(m_i / (r_i + m_i))
                     = log(r_i / n_i) - D(r_i, n_i p_i) - D(x_i, n_i (1 - p_i))
                     + f(n_i) - f(r_i) - f(x_i),    n = x + r,  p = r / (r + m)

with mean m, dispersion d = 1 / r, the D of `deviance` and the f of `stirling`. The
variance is m + d m^2 (the likelihood of single-cell counts: Lopez et al. 2018, "Deep
generative modeling for single-cell transcriptomics"). The limit as d tends to 0 is the
Poisson distribution.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import Family, Key, Scalar, Space
from vaejax.families.deviance import deviance, safe_log
from vaejax.families.heads import two_outputs
from vaejax.families.stirling import factorial_rest


class NegativeBinomialParams(NamedTuple):
    """Log mean and log dispersion of every coordinate."""

    log_mean: Float[Array, "*event"]
    log_dispersion: Float[Array, "*event"]


def negative_binomial() -> Family:
    """Independent negative binomial variables; no reparameterisation.

    Events are whole floats. In float32 the gradient for the log mean, r (x - m) /
    (r + m), is right to an ulp of the mean, as that of `poisson` is.
    `jax.random.poisson` needs the default (threefry) generator.
    """
    return Family(
        name="negative_binomial",
        sample=_sample,
        log_prob=_log_prob,
        mean=lambda params: jnp.exp(params.log_mean),
        head=two_outputs(
            NegativeBinomialParams,
            lambda mean: (jnp.log(jnp.maximum(mean, 1e-3)), jnp.zeros_like(mean)),
        ),
        space=Space("counts"),
        factorised=True,
    )


def _sample(key: Key, params: NegativeBinomialParams) -> Float[Array, "*event"]:
    # The samplers loop until they accept, which reverse mode cannot differentiate.
    log_mean, log_dispersion = stop_gradient(params)
    rate_key, count_key = jax.random.split(key)
    log_rate = jax.random.loggamma(rate_key, jnp.exp(-log_dispersion))
    rate = jnp.exp(log_rate + log_dispersion + log_mean)
    return jax.random.poisson(count_key, rate).astype(log_mean.dtype)


def _log_prob(params: NegativeBinomialParams, x: Float[Array, "*event"]) -> Scalar:
    # A dispersion below e^-60 makes no difference, and its inverse overflows.
    log_r = -jnp.maximum(params.log_dispersion, -60.0)
    m, r = jnp.exp(params.log_mean), jnp.exp(log_r)
    n, log_ratio = x + r, jnp.log(x + r) - jnp.log(r + m)
    # r less its expectation given n, from x - m, which is accurate at a large r.
    excess = r * ((m - x) / (r + m))
    away = deviance(log_r, log_r + log_ratio, r, excess)
    away += deviance(safe_log(x), params.log_mean + log_ratio, x, -excess)
    rests = factorial_rest(n) - factorial_rest(r) - factorial_rest(x)
    return (log_r - jnp.log(n) + rests - away).reshape(-1).sum()
