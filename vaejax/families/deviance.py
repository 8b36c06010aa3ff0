"""Large terms of log-densities that nearly cancel, by what they leave.

At a count of 1e6 the terms of log p(x) are of size 1e7, their sum is of size 10, and
float32 has seven digits. With Stirling's terms taken out of the gamma functions,

    log x! = x log x - x + f(x),    log Gamma(a) = a log a - a + g(a),    g = f - log

the large terms gather in deviances, which have a series where x is near m,

    D(x, m) = x log(x / m) - x + m = x (2 atanh v - 2 v / (1 + v)),  v = (x - m)/(x + m)

(Loader 2000, "Fast and accurate computation of binomial probabilities"), such as
log Poisson(x; m) = -D(x, m) - f(x). Divergences are D and what Bregman calls the
divergence of g; both are sums of terms that are not negative.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)  # B_2, B_4, .
FACTORIALS = np.cumprod(np.arange(1.0, 17.0))  # 1!, 2!, ...
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = coefficient + x * value
    return value


def _by_digits(dtype: np.dtype, single: int, double: int) -> int:
    return double if jnp.finfo(dtype).bits > 32 else single


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
    terms = _by_digits(x.dtype, 10, 24)
    # atanh v = v + v^3 times this.
    tail = _polynomial(tuple(1 / (2 * k + 3) for k in range(terms)), square)
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
    """The exponential less its tangent at 0: e^d - 1 - d, which is not negative."""
    near = jnp.abs(d) < 0.5
    short = jnp.where(near, d, 0.0)
    series = jnp.square(short) * _polynomial(tuple(1 / FACTORIALS[1:]), short)
    return jnp.where(near, series, jnp.expm1(d) - d)


def log_deviance(
    log_x: Float[Array, "*event"], log_m: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    """D(x, m) of logarithms: x (e^d - 1 - d), where d = log(m / x).

    It is the KL divergence of Poisson variables, and summed over two sets of
    probabilities, which sum to one, theirs.
    """
    x, d = jnp.exp(log_x), log_m - log_x
    near = jnp.abs(d) < 0.5
    # Where x is 0, m / x may overflow.
    far = jnp.exp(log_m) - x - x * d
    return jnp.where(near, x * exp_rest(jnp.where(near, d, 0.0)), far)


def factorial_rest(x: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """f(x) = log x! - x log x + x, for x of 0 and above.

    By Stirling's series, log(2 pi x) / 2 + sum_k B_2k / (2k (2k - 1) x^(2k-1)); a small
    x is first raised by as many ones as the series needs.
    """
    raised = _by_digits(x.dtype, 3, 10)
    small = x < raised
    low, y = jnp.where(small, x, 0.0), jnp.where(small, x + raised, x)
    log_y, inverse = jnp.log(y), 1 / y
    series = tuple(b / ((2 * k + 1) * (2 * k + 2)) for k, b in enumerate(BERNOULLI))
    rest = 0.5 * (np.log(2 * np.pi) + log_y) + inverse * _polynomial(
        series, jnp.square(inverse)
    )
    product = jnp.ones_like(low)  # of low + 1, ..., y - 1
    for k in range(1, raised):
        product = product * (low + k)
    lowered = (y - 1) * log_y - raised - jnp.log(product) - low * safe_log(low)
    return rest + jnp.where(small, lowered, 0.0)


def gamma_divergence(
    log_a: Float[Array, "*event"], d: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    """G(b, a) = g(b) - g(a) - (b - a) g'(a), log b = log a + d; g is convex, G >= 0.

    Near d = 0 it is integrated over t = log x, where x^2 g''(x) is from 1/2 to 1:

        d int_0^1 (e^((1-s)d) - 1) [x^2 g''(x)] ds,    x = a e^(s d)
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
    """X^2 g''(x) = x^2 trigamma(x) - x, by 1/2 + sum_k B_2k / x^(2k-1)."""
    raised = _by_digits(x.dtype, 3, 10)
    small = x < raised
    low, y = jnp.where(small, x, 0.0), jnp.where(small, x + raised, x)
    at_y = 0.5 + _polynomial(BERNOULLI, jnp.square(1 / y)) / y
    # trigamma(x) = 1 / x^2 + 1 / (x + 1)^2 + ... + trigamma(y)
    lowered = 1 + jnp.square(low / y) * (at_y + y) - low
    for k in range(1, raised):
        lowered = lowered + jnp.square(low / (low + k))
    return jnp.where(small, lowered, at_y)


def divergence_by_nodes(
    weights: Float[Array, " nodes"],
    log_ratio: Float[Array, " nodes"],
    far: Float[Array, ""],
) -> Float[Array, ""]:
    """KL(p || q) from log(q / p), up to a constant, at the nodes of a rule for p.

    With y the log-ratio less its mean, and the constant that makes q sum to one, it is
    log E e^y = log(1 + E[e^y - 1 - y]), not negative.

    Args:
        weights: of the rule, with a sum of 1.
        log_ratio: log q - log p and any constant.
        far: the divergence by a form for distributions that are not near.
    """
    y = log_ratio - jnp.dot(weights, log_ratio)
    near = jnp.abs(y).max() < 1
    rests = exp_rest(jnp.where(near, y, 0.0))
    return jnp.where(near, jnp.log1p(jnp.dot(weights, rests)), far)
