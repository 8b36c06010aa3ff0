"""Corruptions of a denoising autoencoder's input."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Key, VaejaxError, unknown
from vaejax.ops.random import one_pass

Corrupt = Callable[[Key, Float[Array, "*event"]], Float[Array, "*event"]]


class Corruption(NamedTuple):
    """A kind of noise, and the levels that it may have."""

    apply: Callable[[Key, Array, float], Array]
    highest: float


CORRUPTIONS = {
    # Every coordinate is set to 0 with probability nu (Vincent et al. 2008).
    "masking": Corruption(
        lambda key, x, nu: x * jax.random.bernoulli(one_pass(key), 1 - nu, x.shape), 1.0
    ),
    # x + N(0, sigma^2), which score matching requires (Vincent 2011).
    "gaussian": Corruption(
        lambda key, x, sigma: x + sigma * jax.random.normal(one_pass(key), x.shape),
        jnp.inf,
    ),
}


def corruption(noise: str, level: float) -> Corrupt:
    """The noise of this name in `CORRUPTIONS` at this level: nu, or sigma."""
    if noise not in CORRUPTIONS:
        raise unknown("noise", noise, CORRUPTIONS)
    kind = CORRUPTIONS[noise]
    if not 0 <= level < kind.highest:
        raise VaejaxError(
            f"the level of {noise} noise is {level}: use a number of at least 0 and "
            f"less than {kind.highest:g}"
        )
    return lambda key, x: kind.apply(key, x, level)
