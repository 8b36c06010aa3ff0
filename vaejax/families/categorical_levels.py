"""Categorical grey levels: a separate probability for each level of a pixel.

    log p(x) = sum_i log softmax(l_i)_{x_i}

This is the likelihood of PixelRNN (van den Oord, Kalchbrenner and Kavukcuoglu 2016,
arXiv:1601.06759), with the pixels independent given z and no order of the levels. It
needs `levels` outputs a pixel.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Family, Head, Key, Scalar, Space
from vaejax.core.ranges import Levels
from vaejax.families.grey_levels import check_levels, level_of
from vaejax.families.roots import solve_increasing
from vaejax.ops.random import one_pass


def categorical_levels(levels: Levels = 256) -> Family:
    """Categorical grey levels on [0, 1]; the parameters are logits, [levels, *event].

    A pixel between two levels is rounded to the nearest.
    """
    check_levels(levels)
    values = np.linspace(0, 1, levels)

    def sample(key: Key, logits: Float[Array, "levels ..."]) -> Float[Array, "*event"]:
        level = jax.random.categorical(one_pass(key), logits, axis=0)
        return level.astype(logits.dtype) / (levels - 1)

    def log_prob(
        logits: Float[Array, "levels ..."], x: Float[Array, "*event"]
    ) -> Scalar:
        chosen = jax.nn.one_hot(level_of(x, levels), levels, axis=0, dtype=logits.dtype)
        return (chosen * jax.nn.log_softmax(logits, 0)).reshape(-1).sum()

    def mean(logits: Float[Array, "levels ..."]) -> Float[Array, "*event"]:
        weights = jnp.asarray(values, logits.dtype)
        return jnp.tensordot(weights, jax.nn.softmax(logits, 0), 1)

    def to_outputs(target: Float[Array, "*event"]) -> Float[Array, "levels ..."]:
        """Evenly rising logits: the maximum-entropy distribution of this mean."""

        def logits(slope: Float[Array, "*event"]) -> Float[Array, "levels ..."]:
            return jnp.multiply.outer(jnp.asarray(values - 0.5, slope.dtype), slope)

        target = jnp.clip(target, 0.02, 0.98)
        return logits(
            solve_increasing(lambda slope: mean(logits(slope)), target, -100.0, 100.0)
        )

    return Family(
        name="categorical_levels",
        sample=sample,
        log_prob=log_prob,
        mean=mean,
        head=Head(
            outputs_per_coordinate=levels,
            from_outputs=lambda outputs: outputs,
            to_outputs=to_outputs,
        ),
        space=Space("levels", levels),
        factorised=True,
    )
