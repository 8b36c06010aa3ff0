"""The deviance x log(x / m) - x + m, whose terms nearly cancel where x is near m.

    D(x, m) = x log(x / m) - x + m = x (2 atanh v - 2 v / (1 + v)),  v = (x - m)/(x + m)

The deviance is not negative, and 0 at m = x. At a count of 1e6 the terms of log p(x)
are of size 1e7, their sum is of size 10, and float32 has seven digits; deviances, which
have a series near v = 0, lose none of these digits (Loader 2000, "Fast and accurate
computation of binomial probabilities"):

    log Poisson(x; m) = -D(x, m) - f(x),    log x! = x log x - x + f(x)

with the f of `stirling`. Divergences are sums of deviances too, so that rounding does
not make a divergence negative.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

FACTORIALS = np.cumprod(np.arange(1.0, 17.0))  # 1!, 2!, ...


def safe_log(x: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """The logarithm of a count, finite at 0, where it is multiplied by 0."""
    return jnp.log(jnp.maximum(x, jnp.finfo(x.dtype).tiny))


@jax.custom_jvp
def deviance(
    log_x: Float[Array, "*event"],
    log_m: Float[Array, "*event"],
    x: Float[Array, "*event"],
    excess: Float[Array, "*event"],
) -> Float[Array, "*event"]:
    """D(x, m) = x log(x / m) - x + m, to a relative 1e-6 in float32.

    Args:
        log_x: the logarithm of x, any finite number where x is 0.
        log_m: the logarithm of m. Derivatives pass through the two logarithms alone.
        x: 0 or above, exp(log_x) by the digits that a logarithm loses.
        excess: x - m, likewise.
    """
    return _deviance_and_log_ratio(log_x, log_m, x, excess)[0]


def _deviance_and_log_ratio(
    log_x: Array, log_m: Array, x: Array, excess: Array
) -> tuple[Array, Array]:
    v = excess / jnp.maximum(2 * x - excess, jnp.finfo(x.dtype).tiny)
    near, square = jnp.abs(v) < 0.5, jnp.square(v)
    terms = by_digits(x.dtype, 10, 24)
    # atanh v = v + v^3 tail
    tail = polynomial(tuple(1 / (2 * k + 3) for k in range(terms)), square)
    log_ratio = log_x - log_m
    return (
        jnp.where(near, v * (excess + 2 * x * square * tail), x * log_ratio - excess),
        jnp.where(near, 2 * v * (1 + square * tail), log_ratio),
    )


# dD = x log(x / m) dlog x + (m - x) dlog m
deviance.defjvps(
    lambda dot, value, *primals: (
        primals[2] * _deviance_and_log_ratio(*primals)[1] * dot
    ),
    lambda dot, value, log_x, log_m, x, excess: -excess * dot,
    None,
    None,
)


def exp_rest(d: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """The exponential less its tangent at 0: e^d - 1 - d, at least 0."""
    near = jnp.abs(d) < 0.5
    short = jnp.where(near, d, 0.0)
    series = jnp.square(short) * polynomial(tuple(1 / FACTORIALS[1:]), short)
    return jnp.where(near, series, jnp.expm1(d) - d)


def log_deviance(
    log_x: Float[Array, "*event"], log_m: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    """D(x, m) from logarithms: x (e^d - 1 - d), where d = log(m / x).

    D is the KL divergence of Poisson variables; its sum over two vectors of
    probabilities, which sum to one, is their KL divergence.
    """
    x, d = jnp.exp(log_x), log_m - log_x
    near = jnp.abs(d) < 0.5
    # Where x is 0, m / x may overflow.
    far = jnp.exp(log_m) - x - x * d
    return jnp.where(near, x * exp_rest(jnp.where(near, d, 0.0)), far)


def polynomial(
    coefficients: tuple[float, ...], x: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    """The sum of coefficients[k] x^k, by Horner's scheme."""
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = coefficient + x * value
    return value


def by_digits(dtype: np.dtype, single: int, double: int) -> int:
    """The number of terms that float32, or float64, needs of a series."""
    return double if jnp.finfo(dtype).bits > 32 else single
