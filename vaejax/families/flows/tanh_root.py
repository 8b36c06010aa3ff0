"""The scalar equation that inverts planar and Sylvester layers."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaejax.core import Scalar


@jax.custom_jvp
def tanh_root(slope: Scalar, target: Scalar) -> Scalar:
    """The root a of a + slope * tanh(a) = target, for a slope above -1.

    The left side increases, and |a - target| <= |slope|: 30 halvings of that interval
    and 4 Newton steps give a to rounding. The derivative is that of the equation,

        da = (dtarget - tanh(a) dslope) / (1 + slope * (1 - tanh(a)^2)),

    exact to any order.
    """

    def halve(_: Array, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        low, high = ends
        middle = (low + high) / 2
        above = middle + slope * jnp.tanh(middle) > target
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    def newton(_: Array, a: Scalar) -> Scalar:
        t = jnp.tanh(a)
        return a - (a + slope * t - target) / (1 + slope * (1 - t * t))

    reach = jnp.abs(slope)
    low, high = jax.lax.fori_loop(0, 30, halve, (target - reach, target + reach))
    return jax.lax.fori_loop(0, 4, newton, (low + high) / 2)


@tanh_root.defjvp
def _derivative(
    primals: tuple[Scalar, Scalar], tangents: tuple[Scalar, Scalar]
) -> tuple[Scalar, Scalar]:
    slope, _ = primals
    slope_dot, target_dot = tangents
    a = tanh_root(*primals)
    t = jnp.tanh(a)
    return a, (target_dot - t * slope_dot) / (1 + slope * (1 - t * t))
