"""Inverse autoregressive flows: earlier coordinates parameterise a coordinate's map.

    z_i -> m_i(z_{<i}, h) + exp(s_i(z_{<i}, h)) z_i,   log |det| = sum_i s_i

m and s come from one masked network (MADE, Germain et al. 2015, arXiv:1502.03509), and
h from the encoder: a draw takes one pass, the inverse D passes, one after the other.

Source: Kingma et al. 2016, arXiv:1606.04934.
"""

from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Family
from vaejax.core.memory import check_product
from vaejax.core.ranges import Depth
from vaejax.families.flows.flow import Moved, flow, require_counts
from vaejax.families.flows.networks import (
    ConditionedParams,
    affine,
    apply,
    conditioned_layers,
)


def iaf(
    dim: int = 2,
    depth: Depth = 4,
    hidden: Sequence[int] = (64,),
    context: int = 1,
    pay_for_inverse: bool = False,
) -> Family:
    """A diagonal normal vector through inverse autoregressive layers.

    The family's weights are the networks; as their last layers start at zero, every
    layer starts as the identity. Every other layer takes the coordinates in reverse.
    The paper's gate bounds scales by 1; here scales are between exp(-2) and exp(2).

    Args:
        dim: D, the number of coordinates.
        depth: the number of layers.
        hidden: widths of each network's hidden layers.
        context: numbers per coordinate that the encoder tells every layer.
        pay_for_inverse: allow estimators that ask for the density of a given z, at D
            passes through every layer.
    """
    require_counts(dim=dim, context=context)
    masks = _masks(dim, hidden, context)

    def shift_and_log_scale(
        params: ConditionedParams, z: Float[Array, " D"]
    ) -> tuple[Array, Array]:
        return affine(apply(params, z, masks).reshape(dim, 2))

    def forward(params: ConditionedParams, z: Float[Array, " D"]) -> Moved:
        shift, log_scale = shift_and_log_scale(params, z)
        return shift + jnp.exp(log_scale) * z, log_scale.sum()

    def inverse(params: ConditionedParams, z: Float[Array, " D"]) -> Moved:
        def step(found: Array, _: None) -> tuple[Array, None]:
            """Invert one more coordinate: after i steps the first i are exact."""
            shift, log_scale = shift_and_log_scale(params, found)
            return (z - shift) * jnp.exp(-log_scale), None

        found, _ = jax.lax.scan(step, jnp.zeros_like(z), length=dim)
        return found, shift_and_log_scale(params, found)[1].sum()

    layers = conditioned_layers(
        depth, dim, context, [dim, *hidden, 2 * dim], forward, inverse
    )
    costly = (
        None
        if pay_for_inverse
        else (
            "the density of a given z inverts iaf one coordinate at a time: "
            "use pathwise, which weighs its own draws, or pay_for_inverse=True"
        )
    )
    return flow("iaf", dim, layers, costly_log_prob=costly)


def _masks(dim: int, hidden: Sequence[int], context: int) -> list[np.ndarray]:
    """Masks of the layers: a unit sees units of no higher degree in the layer before.

    Coordinate i has degree i + 1, the context 0, and the outputs for coordinate i have
    degree i, so that they see the coordinates before i.

    Raises:
        VaejaxError: the memory cannot hold them.
    """
    sizes = [(1 + context) * dim, *hidden, 2 * dim]
    for inputs, units in pairwise(sizes):
        check_product({"inputs": inputs, "units": units})
    degrees = [
        np.concatenate([np.arange(dim) + 1, np.zeros(context * dim, int)]),
        *(np.arange(width) % dim for width in hidden),
        np.repeat(np.arange(dim), 2),
    ]
    return [before[:, None] <= after[None] for before, after in pairwise(degrees)]
