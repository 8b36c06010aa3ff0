"""Uniform noise on the open interval (0, 1), which logarithms can take."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Key


def open_uniform(key: Key, like: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """Uniform numbers, never 0 or 1, of which u and 1 - u have one distribution.

    They have the shape and the dtype of the array `like`.

    `jax.random.uniform` gives multiples of the machine epsilon, 0 among them; half a
    step further they lie symmetrically about 1/2, and every one is exact.
    """
    u = jax.random.uniform(key, like.shape, like.dtype)
    return u + jnp.finfo(like.dtype).eps / 2


def logit(u: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """log(u / (1 - u)), finite for u strictly between 0 and 1."""
    return jnp.log(u) - jnp.log1p(-u)


def inside_unit_interval(z: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """Keep z off the 0 and 1 that it rounds to, where log-densities are infinite.

    What is moved carries no gradient: it stood for one too near the end to be
    told from it.
    """
    limits = jnp.finfo(z.dtype)
    return jnp.clip(z, limits.tiny, 1 - limits.epsneg)
