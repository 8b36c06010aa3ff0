"""Uniform noise on the open interval (0, 1), which logarithms can take."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Key


def open_uniform(
    key: Key, shape: tuple[int, ...], dtype: np.dtype
) -> Float[Array, "*event"]:
    """Uniform numbers that are never 0 nor 1, and of which u and 1 - u are one law.

    `jax.random.uniform` gives multiples of the machine epsilon, 0 among them; half a
    step further they lie symmetrically about 1/2, and every one is exact.
    """
    return jax.random.uniform(key, shape, dtype) + jnp.finfo(dtype).eps / 2


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
