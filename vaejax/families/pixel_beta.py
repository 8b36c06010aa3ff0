"""Beta distributions of pixels: on [0, 1] widened by half a grey level at either end.

    y = ((L - 1) x + 1/2) / L,
    log p(x) = sum_i log Beta(y_i; a_i, b_i) + log((L - 1) / L)

The levels i / (L - 1) become the midpoints (i + 1/2) / L of their cells, so that 0 and
1, where a beta density is zero or infinite, move inside by half a level. The map is
one to one, and p includes its derivative: p is a density of x between -1 / (2 L - 2)
and 1 + 1 / (2 L - 2).
"""

import dataclasses
import math

from jaxtyping import Array, Float

from vaejax.core import Family, Scalar, Space, head_of
from vaejax.core.ranges import Levels
from vaejax.families.beta import BetaParams, beta, log_prob_of_shares
from vaejax.families.grey_levels import check_levels


def pixel_beta(levels: Levels = 256) -> Family:
    """Independent beta variables on [0, 1] widened by half a grey level at either end.

    The parameters and the reparameterisation are those of `beta`.
    """
    check_levels(levels)
    inner = beta()
    head = head_of(inner)

    def narrowed(x: Float[Array, "*event"]) -> Float[Array, "*event"]:
        return ((levels - 1) * x + 0.5) / levels

    def widened(y: Float[Array, "*event"]) -> Float[Array, "*event"]:
        return (levels * y - 0.5) / (levels - 1)

    def log_prob(params: BetaParams, x: Float[Array, "*event"]) -> Scalar:
        log_density = log_prob_of_shares(params, narrowed(x), narrowed(1 - x))
        return log_density + x.size * math.log1p(-1 / levels)

    return Family(
        name="pixel_beta",
        sample=lambda key, params: widened(inner.sample(key, params)),
        log_prob=log_prob,
        mean=lambda params: widened(inner.mean(params)),
        head=dataclasses.replace(
            head, to_outputs=lambda mean: head.to_outputs(narrowed(mean))
        ),
        space=Space("interval"),
        factorised=True,
        reparam=inner.reparam,
    )
