"""Coupling flows: half of the coordinates parameterise the map of the other half.

    (x, y) -> (x, f(y; theta(x, h))),   log |det| = sum_i log f'(y_i)

f acts elementwise, theta is a network, h comes from the encoder, and the halves swap
roles from layer to layer. The inverse costs as much as a draw.

    coupling_flow   f(y) = m + exp(s) y       Dinh et al. 2017, arXiv:1605.08803
    spline_flow     f a monotone spline       Durkan et al. 2019, arXiv:1906.04032
"""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Family, VaejaxError
from vaejax.core.ranges import Depth
from vaejax.families.flows.flow import Layers, Moved, flow, require_counts
from vaejax.families.flows.networks import (
    ConditionedParams,
    affine,
    apply,
    conditioned_layers,
)

# y and its parameters [n, k] to the moved y and log f' of the forward map, both [n].
Transform = Callable[[Array, Array], tuple[Array, Array]]


def coupling_flow(
    dim: int = 2, depth: Depth = 4, hidden: Sequence[int] = (64,), context: int = 1
) -> Family:
    """A diagonal normal vector through affine coupling layers (RealNVP).

    The family's weights are the networks; as their last layers start at zero, every
    layer starts as the identity. Log-scales are between -2 and 2.

    Args:
        dim: D, the number of coordinates; of a single one each layer is affine.
        depth: the number of layers.
        hidden: widths of each network's hidden layers.
        context: numbers per coordinate that the encoder tells every layer.
    """

    def forward(y: Array, raw: Array) -> tuple[Array, Array]:
        shift, log_scale = affine(raw)
        return shift + jnp.exp(log_scale) * y, log_scale

    def inverse(y: Array, raw: Array) -> tuple[Array, Array]:
        shift, log_scale = affine(raw)
        return (y - shift) * jnp.exp(-log_scale), log_scale

    layers = _coupling(dim, depth, hidden, context, 2, forward, inverse)
    return flow("coupling_flow", dim, layers)


def spline_flow(
    dim: int = 2,
    depth: Depth = 4,
    hidden: Sequence[int] = (64,),
    context: int = 1,
    bins: int = 8,
    bound: float = 5.0,
) -> Family:
    """A diagonal normal vector through rational-quadratic coupling layers.

    The family's weights are the networks; as their last layers start at zero, every
    layer starts as the identity.

    Args:
        dim: D, the number of coordinates.
        depth: the number of layers.
        hidden: widths of each network's hidden layers.
        context: numbers per coordinate that the encoder tells every layer.
        bins: pieces of each spline, of 3 numbers.
        bound: splines act on (-bound, bound); outside they are the identity. No piece
            is narrower or lower than 1e-3 of it, no slope at its ends below 1e-3.
    """
    import distrax

    require_counts(bins=bins)
    if bins > 1000:
        raise VaejaxError(f"bins is {bins}: use at most 1000")
    if not 0 < bound < math.inf:
        raise VaejaxError(f"bound is {bound}: use a number above 0, and finite")

    def spline(raw: Array) -> distrax.Bijector:
        return distrax.RationalQuadraticSpline(
            raw,
            range_min=-bound,
            range_max=bound,
            boundary_slopes="identity",
            min_bin_size=1e-3 * bound,
            min_knot_slope=1e-3,
        )

    def inverse(y: Array, raw: Array) -> tuple[Array, Array]:
        y, log_slope = spline(raw).inverse_and_log_det(y)
        return y, -log_slope

    layers = _coupling(
        dim,
        depth,
        hidden,
        context,
        3 * bins + 1,
        lambda y, raw: spline(raw).forward_and_log_det(y),
        inverse,
    )
    return flow("spline_flow", dim, layers)


def _coupling(
    dim: int,
    depth: int,
    hidden: Sequence[int],
    context: int,
    count: int,
    forward: Transform,
    inverse: Transform,
) -> Layers:
    """Layers whose first half gives `count` numbers per coordinate of the second."""
    require_counts(dim=dim)
    half = dim // 2

    def moved_by(transform: Transform) -> Callable[[ConditionedParams, Array], Moved]:
        def move(params: ConditionedParams, z: Float[Array, " D"]) -> Moved:
            x, y = jnp.split(z, [half])
            raw = apply(params, x).reshape(dim - half, count)
            y, log_slope = transform(y, raw)
            return jnp.concatenate([x, y]), log_slope.sum()

        return move

    sizes = [half, *hidden, (dim - half) * count]
    return conditioned_layers(
        depth, dim, context, sizes, moved_by(forward), moved_by(inverse)
    )
