"""Sylvester flows: planar layers of many directions, with a tractable determinant.

    T(z) = z + Q R tanh(a),   a = S Q'z + b,
    log |det| = sum_i log(1 + R_ii S_ii (1 - tanh(a_i)^2))

for Q [D, M] of orthonormal columns and upper triangular R and S, invertible as every
R_ii S_ii > -1 (van den Berg et al. 2018, arXiv:1803.05649). The inverse solves one
monotone scalar equation for each coordinate of Q'z, from the last to the first.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vaejax.core import Family, PyTree, VaejaxError
from vaejax.core.ranges import Depth
from vaejax.families.flows.flow import (
    Layers,
    Moved,
    directions,
    flow,
    require_counts,
    unpacking,
)
from vaejax.families.flows.householder import reflect
from vaejax.families.flows.tanh_root import tanh_root


class SylvesterParams(NamedTuple):
    """Unconstrained numbers; the diagonals of R and S are at most 0.999, by tanh.

    Q's columns are the first M of the product of the reflections across `v`; without
    reflections they are the axes.
    """

    v: Float[Array, "*depth H D"]
    r: Float[Array, "*depth M M"]
    s: Float[Array, "*depth M M"]
    b: Float[Array, "*depth M"]


def sylvester_flow(
    dim: int = 2,
    depth: Depth = 4,
    width: int | None = None,
    basis: str = "orthogonal",
) -> Family:
    """A diagonal normal vector through Sylvester layers, parameterised by a network.

    At zero outputs R = 0, and every layer is the identity. The inverse of a layer takes
    M steps, one after the other.

    Args:
        dim: D, the number of coordinates.
        depth: the number of layers.
        width: M, at most D, and by default D or 8 if that is less.
        basis: "orthogonal" takes Q from M reflections of the network, and so reaches
            every orthogonal Q (the paper's other parameterisations reach the same);
            "triangular" fixes Q to the axes, of which every other layer reverses the
            order, and M to D.
    """
    orthogonal = basis == "orthogonal"
    if not orthogonal and basis != "triangular":
        raise VaejaxError(f"unknown basis {basis!r}: use 'orthogonal' or 'triangular'")
    usual = min(dim, 8) if orthogonal else dim
    size = usual if width is None else width
    require_counts(dim=dim, depth=depth, width=size)
    if size > dim or (not orthogonal and size < dim):
        raise VaejaxError(
            f"width is {size}, and there are {dim} coordinates: use at most {dim} "
            "with an orthogonal basis, and leave width out with a triangular basis, "
            "which uses all of them"
        )
    reflections = size if orthogonal else 0
    count, unpack = unpacking(
        depth, dim, v=(reflections, dim), r=(size, size), s=(size, size), b=(size,)
    )
    start = directions(depth, reflections, dim)

    def read(outputs: Float[Array, "n D"], weights: PyTree) -> SylvesterParams:
        parts, length = unpack(outputs), dim**0.5
        return SylvesterParams(
            v=start.astype(outputs.dtype) + parts["v"] / length,
            r=parts["r"] / length,
            s=jnp.eye(size, dtype=outputs.dtype)[None] + parts["s"] / length,
            b=parts["b"],
        )

    layers = Layers(
        depth=depth,
        outputs_per_coordinate=count,
        read=read,
        forward=_forward,
        inverse=_inverse,
        alternate=not orthogonal,
    )
    return flow("sylvester_flow", dim, layers)


def _triangular(matrix: Float[Array, "M M"]) -> Float[Array, "M M"]:
    diagonal = 0.999 * jnp.tanh(jnp.diagonal(matrix))
    return jnp.triu(matrix, 1) + jnp.diag(diagonal)


def _basis(params: SylvesterParams) -> Float[Array, "D M"]:
    columns = jnp.eye(params.v.shape[1], params.b.size, dtype=params.b.dtype)
    across = jax.vmap(reflect, (None, 1), 1)
    return jax.lax.scan(lambda q, v: (across(v, q), None), columns, params.v)[0]


def _log_det(slopes: Float[Array, " M"], t: Float[Array, " M"]) -> Array:
    return jnp.log1p(slopes * (1 - t * t)).sum()


def _forward(params: SylvesterParams, z: Float[Array, " D"]) -> Moved:
    q, r, s = _basis(params), _triangular(params.r), _triangular(params.s)
    t = jnp.tanh(s @ (z @ q) + params.b)
    return z + q @ (r @ t), _log_det(jnp.diagonal(r) * jnp.diagonal(s), t)


def _inverse(params: SylvesterParams, z: Float[Array, " D"]) -> Moved:
    q, r, s = _basis(params), _triangular(params.r), _triangular(params.s)
    y = z @ q
    slopes = jnp.diagonal(r) * jnp.diagonal(s)

    def one(found: tuple[Array, Array], i: Int[Array, ""]) -> tuple[Any, None]:
        """v_i + R_ii tanh(S_ii v_i + rest) = y_i - sum_{j > i} R_ij tanh(a_j)."""
        v, t = found  # Q'z and tanh(a), zero up to coordinate i
        known = y[i] - r[i] @ t
        a = tanh_root(slopes[i], s[i, i] * known + s[i] @ v + params.b[i])
        t_i = jnp.tanh(a)
        return (v.at[i].set(known - r[i, i] * t_i), t.at[i].set(t_i)), None

    nothing = jnp.zeros_like(y)
    order = jnp.arange(y.size)[::-1]
    (_, t), _ = jax.lax.scan(one, (nothing, nothing), order)
    return z - q @ (r @ t), _log_det(slopes, t)
