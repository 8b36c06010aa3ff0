"""Grey levels, each with the probability of its cell under a mixture of logistics.

    log P(x) = sum_i log sum_m w_im P(x_i; loc_im, scale_im)

where each P is that of `discretized_logistic`. It is the likelihood of PixelCNN++
(Salimans et al. 2017, arXiv:1701.05517) with channels, like pixels, independent given
z.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import Family, Head, Key, Scalar, Space, VaejaxError
from vaejax.core.ranges import Components, Levels
from vaejax.families.discretized_logistic import (
    START,
    LogisticParams,
    level_log_prob,
    level_mean,
    sample_level,
)
from vaejax.families.grey_levels import check_levels, level_of
from vaejax.families.roots import solve_increasing


class LogisticMixtureParams(NamedTuple):
    """The M components of every coordinate: logits of their weights, and logistics."""

    logits: Float[Array, "components ..."]
    loc: Float[Array, "components ..."]
    log_scale: Float[Array, "components ..."]


def mixture_of_discretized_logistics(
    num_components: Components = 5, levels: Levels = 256
) -> Family:
    """Mixtures of logistic variables rounded to grey levels on [0, 1].

    A pixel between two levels is rounded to the nearest.

    Args:
        num_components: M, of every pixel; a network puts out 3 M numbers for each.
        levels: of the data.
    """
    check_levels(levels)
    if num_components < 1:
        raise VaejaxError(f"num_components is {num_components}: use at least 1")

    def sample(key: Key, params: LogisticMixtureParams) -> Float[Array, "*event"]:
        component_key, level_key = jax.random.split(key)
        component = jax.random.categorical(component_key, params.logits, axis=0)[None]
        loc, log_scale = (
            jnp.take_along_axis(leaf, component, 0)[0]
            for leaf in (params.loc, params.log_scale)
        )
        return sample_level(level_key, LogisticParams(loc, log_scale), levels)

    def log_prob(params: LogisticMixtureParams, x: Float[Array, "*event"]) -> Scalar:
        logistics = LogisticParams(params.loc, params.log_scale)
        level = jnp.broadcast_to(level_of(x, levels), params.loc.shape)
        joint = jax.nn.log_softmax(params.logits, 0) + level_log_prob(
            logistics, level, levels
        )
        return logsumexp(joint, 0).reshape(-1).sum()

    def mean(params: LogisticMixtureParams) -> Float[Array, "*event"]:
        means = level_mean(LogisticParams(params.loc, params.log_scale), levels)
        return (jax.nn.softmax(params.logits, 0) * means).sum(0)

    def from_outputs(outputs: Float[Array, "outputs ..."]) -> LogisticMixtureParams:
        return LogisticMixtureParams(
            *outputs.reshape(3, num_components, *outputs.shape[1:])
        )

    def to_outputs(target: Float[Array, "*event"]) -> Float[Array, "outputs ..."]:
        """Components of equal weight, spread out, as equal ones would learn alike."""
        apart = jnp.asarray(np.linspace(-0.2, 0.2, num_components), target.dtype)

        def around(center: Float[Array, "*event"]) -> LogisticMixtureParams:
            loc = jnp.add.outer(apart, center)
            log_scale = jnp.full_like(loc, np.log(START))
            return LogisticMixtureParams(jnp.zeros_like(loc), loc, log_scale)

        center = solve_increasing(
            lambda center: mean(around(center)), jnp.clip(target, 0.02, 0.98), -2.0, 3.0
        )
        return jnp.concatenate(around(center))

    return Family(
        name="mixture_of_discretized_logistics",
        sample=sample,
        log_prob=log_prob,
        mean=mean,
        head=Head(
            outputs_per_coordinate=3 * num_components,
            from_outputs=from_outputs,
            to_outputs=to_outputs,
        ),
        space=Space("levels", levels),
        factorised=True,
    )
