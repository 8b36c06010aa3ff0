"""The inverse of an increasing function."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def solve_increasing(
    f: Callable[[Array], Array],
    target: Float[Array, "*event"],
    low: float,
    high: float,
) -> Float[Array, "*event"]:
    """The x in [low, high] with f(x) = target, by bisection to (high - low) / 2^40.

    The search is elementwise; where f never reaches the target, x is the nearer end.
    """

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        below, above = bounds
        middle = (below + above) / 2
        short = f(middle) < target
        return jnp.where(short, middle, below), jnp.where(short, above, middle)

    bounds = jnp.full_like(target, low), jnp.full_like(target, high)
    return jax.lax.fori_loop(0, 40, halve, bounds)[0]
