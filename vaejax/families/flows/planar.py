"""Planar flows: each layer bends space along one direction.

    T(z) = z + u tanh(a),   a = w'z + b,   log |det| = log(1 + w'u (1 - tanh(a)^2))

T is invertible as w'u > -1 (Rezende and Mohamed 2015, arXiv:1505.05770, appendix A.1).
Its inverse is one monotone equation in a, a + w'u tanh(a) = w'T(z) + b.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Family, PyTree, Scalar
from vaejax.core.ranges import Depth
from vaejax.families.flows.flow import (
    FlowParams,
    Layers,
    Moved,
    above_minus_one,
    directions,
    flow,
    push,
    require_counts,
    unpacking,
)
from vaejax.families.flows.tanh_root import tanh_root
from vaejax.families.normal import trapezoidal_rule


class PlanarParams(NamedTuple):
    """Unconstrained numbers; `_bend` maps `raw_u` to a u with w'u above -1."""

    raw_u: Float[Array, "*depth D"]
    w: Float[Array, "*depth D"]
    b: Float[Array, "*depth"]


def planar_flow(dim: int = 2, depth: Depth = 4) -> Family:
    """A diagonal normal vector through planar layers, parameterised by a network.

    At zero outputs u = 0, and every layer is the identity.

    Args:
        dim: D, the number of coordinates.
        depth: the number of layers; each takes 2 D + 1 numbers of the network.
    """
    require_counts(dim=dim, depth=depth)
    count, unpack = unpacking(depth, dim, raw_u=(dim,), w=(dim,), b=())
    start = directions(depth, dim)

    def read(outputs: Float[Array, "n D"], weights: PyTree) -> PlanarParams:
        parts, length = unpack(outputs), dim**0.5  # vectors do not grow with D
        w = start.astype(outputs.dtype) + parts["w"] / length
        return PlanarParams(parts["raw_u"] / length, w, parts["b"])

    layers = Layers(
        depth=depth,
        outputs_per_coordinate=count,
        read=read,
        forward=_forward,
        inverse=_inverse,
    )

    def quadrature(
        params: FlowParams, num_nodes: int
    ) -> tuple[Float[Array, "nodes D"], Float[Array, " nodes"]]:
        """The base's nodes, transformed by the layers, and the base's weights."""
        nodes, weights = trapezoidal_rule(params.base, num_nodes)
        return jax.vmap(lambda z: push(layers, params.layers, z)[0])(nodes), weights

    return dataclasses.replace(flow("planar_flow", dim, layers), quadrature=quadrature)


def _bend(params: PlanarParams) -> tuple[Float[Array, " D"], Scalar]:
    """The pair u, w'u: u is `raw_u`, shifted along w so that w'u is above -1."""
    given = params.raw_u @ params.w
    slope = above_minus_one(given)
    square = jnp.maximum(params.w @ params.w, 1e-12)
    return params.raw_u + (slope - given) * params.w / square, slope


def _log_det(slope: Scalar, t: Scalar) -> Scalar:
    return jnp.log1p(slope * (1 - t * t))


def _forward(params: PlanarParams, z: Float[Array, " D"]) -> Moved:
    u, slope = _bend(params)
    t = jnp.tanh(params.w @ z + params.b)
    return z + u * t, _log_det(slope, t)


def _inverse(params: PlanarParams, z: Float[Array, " D"]) -> Moved:
    u, slope = _bend(params)
    t = jnp.tanh(tanh_root(slope, params.w @ z + params.b))
    return z - u * t, _log_det(slope, t)
