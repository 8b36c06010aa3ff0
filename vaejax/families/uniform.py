"""Uniform noise on the open interval (0, 1), where logarithms are finite."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Key
from vaejax.ops.random import one_pass


def open_uniform(key: Key, like: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """Uniform numbers u, never 0 or 1; u and 1 - u have the same distribution.

    They have the shape and the dtype of the array `like`.

    `jax.random.uniform` gives multiples of the machine epsilon, 0 among them; shifted
    by half a step they lie symmetrically about 1/2, and every number is exact.
    """
    u = jax.random.uniform(one_pass(key), like.shape, like.dtype)
    return u + jnp.finfo(like.dtype).eps / 2


def logit(u: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """log(u / (1 - u)), finite for u strictly between 0 and 1."""
    return jnp.log(u) - jnp.log1p(-u)


def inside_unit_interval(z: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """Move a z that rounds to 0 or 1, where log-densities are infinite, inside.

    A moved z carries no gradient: it stands for a number that rounds to the end.
    """
    limits = jnp.finfo(z.dtype)
    return jnp.clip(z, limits.tiny, 1 - limits.epsneg)
