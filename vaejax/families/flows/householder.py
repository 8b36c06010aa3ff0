"""Householder flows: reflections, which turn a diagonal normal's axes.

    T(z) = z - 2 v (v'z) / |v|^2,   log |det| = 0

T is its own inverse. A product of D reflections is any orthogonal matrix, so the flow
is a normal distribution of full covariance (Tomczak and Welling 2016,
arXiv:1611.09630).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Family, PyTree
from vaejax.core.ranges import Depth
from vaejax.families.flows.flow import (
    Layers,
    Moved,
    directions,
    flow,
    require_counts,
    unpacking,
)


def householder_flow(dim: int = 2, depth: Depth = 4) -> Family:
    """A diagonal normal vector through reflections in vectors from a network.

    A reflection is never near the identity: at zero outputs reflections come in pairs
    that cancel, and an odd depth leaves one.

    Args:
        dim: D, the number of coordinates.
        depth: the number of reflections; each takes D numbers of the network.
    """
    require_counts(dim=dim, depth=depth)
    count, unpack = unpacking(depth, dim, v=(dim,))
    start = directions(depth, dim)[np.arange(depth) // 2]

    def read(outputs: Float[Array, "n D"], weights: PyTree) -> Float[Array, "depth D"]:
        return start.astype(outputs.dtype) + unpack(outputs)["v"] / dim**0.5

    def move(v: Float[Array, " D"], z: Float[Array, " D"]) -> Moved:
        return reflect(v, z), jnp.zeros((), z.dtype)

    layers = Layers(
        depth=depth,
        outputs_per_coordinate=count,
        read=read,
        forward=move,
        inverse=move,
    )
    return flow("householder_flow", dim, layers)


def reflect(v: Float[Array, " D"], z: Float[Array, " D"]) -> Float[Array, " D"]:
    """Reflect z in the plane orthogonal to v; the identity where v is 0."""
    square = v @ v
    is_tiny = square < jnp.finfo(v.dtype).tiny
    return z - jnp.where(is_tiny, 0, 2 / jnp.where(is_tiny, 1, square)) * (v @ z) * v
