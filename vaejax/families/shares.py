"""Densities of C shares of a whole, for beta and Dirichlet distributions.

With concentrations a, their sum n, the D of `deviance` and the g of `stirling`,

    sum_i a_i log z_i - log B(a) = g(n) - sum_i D(a_i, n z_i) + g(a_i)

The right side does not cancel at large a. It is the log-density of the shares'
logarithms, and is unchanged to first order where rounded shares do not sum to one.
Arrays are [C, ...].
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.families.deviance import deviance, exp_rest
from vaejax.families.stirling import factorial_rest, gamma_divergence


def log_density_of_logs(
    log_a: Float[Array, "C ..."],
    log_z: Float[Array, "C ..."],
    excess: Float[Array, "C ..."],
) -> Float[Array, "..."]:
    """The log-density sum_i a_i log z_i - log B(a), with the excess a - n z."""
    a, log_n = jnp.exp(log_a), logsumexp(log_a, 0)
    away = deviance(log_a, log_n[None] + log_z, a, excess)
    of_each = away + factorial_rest(a) - log_a
    return factorial_rest(a.sum(0)) - log_n - of_each.sum(0)


def share_divergence(
    p: Float[Array, "C ..."], q: Float[Array, "C ..."]
) -> Float[Array, "..."]:
    """The KL divergence, from the logarithms of the concentrations.

    With concentrations a of p, of sum n, and c of q, of sum m,

        sum_i D(c_i, a_i m / n) + G(c_i, a_i) - G(m, n),    G the `gamma_divergence`
    """
    d = q - p
    # log(m / n), by the form that does not cancel.
    change = (jax.nn.softmax(p, 0) * jnp.expm1(jnp.minimum(d, 80.0))).sum(0)
    near = jnp.abs(change) < 0.5
    of_sum = jnp.where(
        near,
        jnp.log1p(jnp.where(near, change, 0.0)),
        logsumexp(jax.nn.log_softmax(p, 0) + d, 0),
    )
    of_each = jnp.exp(q) * exp_rest(of_sum[None] - d) + gamma_divergence(p, d)
    return of_each.sum(0) - gamma_divergence(logsumexp(p, 0), of_sum)
