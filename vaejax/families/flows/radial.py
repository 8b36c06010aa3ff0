"""Radial flows: each layer contracts or expands space around one point.

    T(z) = z + g (z - c),   g = beta / (alpha + r),   r = |z - c|
    log |det| = (D - 1) log(1 + g) + log(1 + g alpha / (alpha + r))

T is invertible as alpha > 0 and beta > -alpha (Rezende and Mohamed 2015,
arXiv:1505.05770, appendix A.2). Its inverse is a quadratic equation in r,
r + g r = |T(z) - c|.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Family, PyTree, Scalar
from vaejax.core.ranges import Depth
from vaejax.families.flows.flow import (
    Layers,
    Moved,
    above_minus_one,
    directions,
    flow,
    require_counts,
    unpacking,
)


class RadialParams(NamedTuple):
    """Unconstrained numbers: alpha = 1 + f(width) and beta = alpha f(strength).

    The function f is `above_minus_one`.
    """

    center: Float[Array, "*depth D"]
    width: Float[Array, "*depth"]
    strength: Float[Array, "*depth"]


def radial_flow(dim: int = 2, depth: Depth = 4) -> Family:
    """A diagonal normal vector through radial layers, parameterised by a network.

    At zero outputs beta = 0, and every layer is the identity.

    Args:
        dim: D, the number of coordinates.
        depth: the number of layers; each takes D + 2 numbers of the network.
    """
    require_counts(dim=dim, depth=depth)
    count, unpack = unpacking(depth, dim, center=(dim,), width=(), strength=())
    start = directions(depth, dim)

    def read(outputs: Float[Array, "n D"], weights: PyTree) -> RadialParams:
        parts = unpack(outputs)
        center = parts["center"] + start.astype(outputs.dtype)
        return RadialParams(center, parts["width"], parts["strength"])

    layers = Layers(
        depth=depth,
        outputs_per_coordinate=count,
        read=read,
        forward=_forward,
        inverse=_inverse,
    )
    return flow("radial_flow", dim, layers)


def _forward(params: RadialParams, z: Float[Array, " D"]) -> Moved:
    away = z - params.center
    gain, log_det = _gain(params, _length(away), z.size)
    return z + gain * away, log_det


def _inverse(params: RadialParams, z: Float[Array, " D"]) -> Moved:
    """The positive root of r^2 + (alpha + beta - s) r - alpha s = 0, s = |z - c|."""
    away = z - params.center
    length = _length(away)
    alpha = _alpha(params)
    half = (alpha * (1 + above_minus_one(params.strength)) - length) / 2
    root = jnp.sqrt(half**2 + alpha * length)
    # The form of the root that does not cancel.
    sum_ = jnp.where(half > 0, half + root, 1)
    r = jnp.where(half > 0, alpha * length / sum_, root - half)
    gain, log_det = _gain(params, r, z.size)
    return params.center + away / (1 + gain), log_det


def _alpha(params: RadialParams) -> Scalar:
    return 1 + above_minus_one(params.width)


def _gain(params: RadialParams, r: Scalar, dim: int) -> tuple[Scalar, Scalar]:
    """The gain g and log |det| at the distance r from the centre."""
    share = _alpha(params) / (_alpha(params) + r)
    gain = above_minus_one(params.strength) * share
    return gain, (dim - 1) * jnp.log1p(gain) + jnp.log1p(gain * share)


def _length(x: Float[Array, " D"]) -> Scalar:
    """|x|, with derivative 0 at 0, where T is differentiable, as r (z - c) is."""
    square = x @ x
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
