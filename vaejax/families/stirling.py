"""Gamma functions and factorials without the terms that cancel in log-densities.

    log x! = x log x - x + f(x),    log Gamma(a) = a log a - a + g(a),    g = f - log

By Stirling's series, with the Bernoulli numbers B_2k,

    f(x) = log(2 pi x) / 2 + sum_k B_2k / (2k (2k - 1) x^(2k-1))

At x = 1e6, f is 8, and log x! is 1e7. A small x is first raised by an integer, by
log Gamma(x + 1) = log x + log Gamma(x), until the series converges.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.families.deviance import by_digits, polynomial, safe_log

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)  # from B_2
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)


def factorial_rest(x: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """f(x) = log x! - x log x + x, for x of 0 and above."""
    raised = by_digits(x.dtype, 3, 10)
    small = x < raised
    low, y = jnp.where(small, x, 0.0), jnp.where(small, x + raised, x)
    log_y, inverse = jnp.log(y), 1 / y
    series = tuple(b / ((2 * k + 1) * (2 * k + 2)) for k, b in enumerate(BERNOULLI))
    rest = 0.5 * (np.log(2 * np.pi) + log_y) + inverse * polynomial(
        series, jnp.square(inverse)
    )
    product = jnp.ones_like(low)  # (low + 1) ... (y - 1)
    for k in range(1, raised):
        product = product * (low + k)
    lowered = (y - 1) * log_y - raised - jnp.log(product) - low * safe_log(low)
    return rest + jnp.where(small, lowered, 0.0)


def gamma_divergence(
    log_a: Float[Array, "*event"], d: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    """G(b, a) = g(b) - g(a) - (b - a) g'(a), not negative as g is convex.

    The numbers are a and b = a e^d. Near d = 0 it is the integral

        d int_0^1 (e^((1-s)d) - 1) [x^2 g''(x)] ds,    x = a e^(s d)

    whose bracket is between 1/2 and 1.
    """
    near = jnp.abs(d) < 0.5
    short = jnp.where(near, d, 0.0)

    def term(node: Array, weight: Array) -> Array:
        curvature = _curvature(jnp.exp(log_a + node * short))
        return weight * jnp.expm1((1 - node) * short) * curvature

    nodes = jnp.asarray((1 + NODES) / 2, d.dtype)
    series = jax.vmap(term)(nodes, jnp.asarray(WEIGHTS / 2, d.dtype)).sum(0) * short
    a = jnp.exp(log_a)
    at_a, slope = jax.jvp(factorial_rest, (a,), (a,))  # f(a) and a f'(a)
    change = factorial_rest(jnp.exp(log_a + d)) - at_a
    return jnp.where(near, series, (1 - slope) * jnp.expm1(d) - d + change)


def _curvature(x: Array) -> Array:
    """x^2 g''(x) = x^2 trigamma(x) - x = 1/2 + sum_k B_2k / x^(2k-1)."""
    raised = by_digits(x.dtype, 3, 10)
    small = x < raised
    low, y = jnp.where(small, x, 0.0), jnp.where(small, x + raised, x)
    at_y = 0.5 + polynomial(BERNOULLI, jnp.square(1 / y)) / y
    # trigamma(x) = 1 / x^2 + 1 / (x + 1)^2 + ... + trigamma(y)
    lowered = 1 + jnp.square(low / y) * (at_y + y) - low
    for k in range(1, raised):
        lowered = lowered + jnp.square(low / (low + k))
    return jnp.where(small, lowered, at_y)
