"""Grey levels, each with the probability of its cell under a logistic distribution.

Level i of L is the number i / (L - 1); its cell reaches half a step to either side, and
the cells of the first and the last level are unbounded outwards (Kingma et al. 2016,
arXiv:1606.04934; Salimans et al. 2017, arXiv:1701.05517). With a and b a cell's ends,
in scales from the location,

    P = sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b))

The logarithm of P is a sum of three terms that neither cancel nor overflow; b - a is
the same for every cell, the first factor is 1 at an open upper end, the second at an
open lower end, and the third at either. So the L probabilities sum to one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vaejax.core import Family, Key, Scalar, Space
from vaejax.core.ranges import Levels
from vaejax.families.grey_levels import check_levels, level_of
from vaejax.families.heads import two_outputs
from vaejax.families.roots import solve_increasing
from vaejax.families.uniform import logit, open_uniform

START = 0.1  # the scale in `to_outputs`


class LogisticParams(NamedTuple):
    """Location and log-scale of every coordinate, in the units of [0, 1]."""

    loc: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]


def discretized_logistic(levels: Levels = 256) -> Family:
    """Logistic variables rounded to grey levels on [0, 1], independent given z.

    A pixel between two levels is rounded to the nearest.
    """
    check_levels(levels)

    def at_mean(mean: Float[Array, "*event"]) -> LogisticParams:
        log_scale = jnp.full_like(mean, np.log(START))
        loc = solve_increasing(
            lambda loc: level_mean(LogisticParams(loc, log_scale), levels),
            jnp.clip(mean, 0.02, 0.98),
            -2.0,
            3.0,
        )
        return LogisticParams(loc, log_scale)

    return Family(
        name="discretized_logistic",
        sample=lambda key, params: sample_level(key, params, levels),
        log_prob=lambda params, x: (
            level_log_prob(params, level_of(x, levels), levels).reshape(-1).sum()
        ),
        mean=lambda params: level_mean(params, levels),
        head=two_outputs(LogisticParams, at_mean),
        space=Space("levels", levels),
        factorised=True,
    )


def level_log_prob(
    params: LogisticParams, level: Int[Array, "*event"], levels: int
) -> Float[Array, "*event"]:
    """The log-probability of the given level at every coordinate."""
    per_scale, steps = jnp.exp(-params.log_scale), levels - 1
    upper = ((level + 0.5) / steps - params.loc) * per_scale
    lower = ((level - 0.5) / steps - params.loc) * per_scale
    first, last = level == 0, level == steps
    between = jnp.log(-jnp.expm1(-per_scale / steps))
    return (
        jnp.where(last, 0.0, jax.nn.log_sigmoid(upper))
        + jnp.where(first, 0.0, jax.nn.log_sigmoid(-lower))
        + jnp.where(first | last, 0.0, between)
    )


def level_mean(params: LogisticParams, levels: int) -> Float[Array, "*event"]:
    """The mean level: the mean over steps of the probability of lying above a step."""
    ends = (np.arange(levels - 1) + 0.5) / (levels - 1)

    def one(loc: Scalar, log_scale: Scalar) -> Scalar:
        return jax.nn.sigmoid((loc - ends) * jnp.exp(-log_scale)).mean()

    return jnp.vectorize(one)(*params)


def sample_level(
    key: Key, params: LogisticParams, levels: int
) -> Float[Array, "*event"]:
    """Round a logistic variable, drawn by its inverse distribution function."""
    u = open_uniform(key, params.loc)
    x = params.loc + jnp.exp(params.log_scale) * logit(u)
    return level_of(x, levels).astype(x.dtype) / (levels - 1)
