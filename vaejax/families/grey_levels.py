"""Grey levels: the numbers i / (levels - 1) for i < levels."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vaejax.core import VaejaxError


def check_levels(levels: int) -> None:
    """Raise a `VaejaxError` for fewer than two levels."""
    if levels < 2:
        raise VaejaxError(f"levels is {levels}: use 2 or more, as in 256")


def level_of(x: Float[Array, "*event"], levels: int) -> Int[Array, "*event"]:
    """The number i, from 0 to levels - 1, of the level nearest to each pixel."""
    return jnp.clip(jnp.round(x * (levels - 1)), 0, levels - 1).astype(jnp.int32)
