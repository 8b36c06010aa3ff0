"""Bounds that are the log of a power mean of the weights."""

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import Bound, LogMean, Scalar


def mean_of_singles(num_samples: int) -> list[LogMean]:
    """The log-means of single weights, whose sum is the mean of the log-weights."""
    return [LogMean(1.0, 1)]


def power_mean(name: str, power: float, minimised: bool = False) -> Bound:
    """`1/p log mean_k w_k^p`, and its limit at p = 0, the mean of the log-weights."""
    if power == 0:
        return Bound(
            name=name,
            aggregate=jnp.mean,
            separable=True,
            curvature=jnp.zeros_like,
            expectation=mean_of_singles,
            relation="lower",
            minimised=minimised,
        )

    def aggregate(log_w: Float[Array, " K"]) -> Scalar:
        if abs(power) >= 1e-3:
            return (logsumexp(power * log_w) - jnp.log(log_w.shape[0])) / power
        # The difference of logarithms would round off before the division by `power`.
        largest = stop_gradient(log_w.max())
        below = jnp.expm1(power * (log_w - largest)).mean()
        return largest + jnp.log1p(below) / power

    def curvature(log_w: Float[Array, " K"]) -> Float[Array, " K"]:
        normalized = jax.nn.softmax(power * log_w)
        return power * normalized * (1 - normalized)

    return Bound(
        name=name,
        aggregate=aggregate,
        curvature=curvature,
        expectation=lambda num_samples: [LogMean(1.0, num_samples, power)],
        relation="lower" if power <= 1 else "upper",
        minimised=minimised,
    )
