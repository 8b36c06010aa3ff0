"""Normalizing flows: a normal draw through invertible maps with known determinants.

    z_0 ~ N(loc, diag(scale^2)),   z_l = T_l(z_{l-1}),   z = z_L
    log q(z) = log q_0(z_0) - sum_l log |det dT_l / dz_{l-1}|

A draw with its density costs one pass through the layers; the density of a given z
inverts the layers first. One `lax.scan` runs layers of one kind: a deep flow compiles
as fast as a shallow one. At zero network outputs every layer is the identity, or close
to it (see each file), so that training starts from the diagonal normal.

Source: Rezende and Mohamed 2015, arXiv:1505.05770; Papamakarios et al. 2021,
arXiv:1912.02762.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    Couplings,
    Family,
    Head,
    Key,
    OwnSamples,
    PyTree,
    Scalar,
    VaejaxError,
    head_of,
    record,
)
from vaejax.families.normal import NormalParams, diagonal_normal

Moved = tuple[Float[Array, " D"], Scalar]  # a point, and log|det| of the forward map


class FlowParams(NamedTuple):
    """The distribution of z_0, and the layers' parameters, every leaf [depth, ...]."""

    base: NormalParams
    layers: PyTree


@record
class Layers:
    """`depth` invertible maps of R^D of one kind; a function takes one map's params.

    `forward` maps z_{l-1} to z_l, `inverse` back; both give log |det dz_l / dz_{l-1}|.
    """

    depth: int
    outputs_per_coordinate: int  # network outputs, for all layers together
    # The parameters, every leaf [depth, ...], from those outputs and the weights.
    read: Callable[[Float[Array, "n D"], PyTree], PyTree]
    forward: Callable[[PyTree, Float[Array, " D"]], Moved]
    inverse: Callable[[PyTree, Float[Array, " D"]], Moved]
    weights: Callable[[Key], PyTree] | None = None  # see `Head.weights`
    alternate: bool = False  # every other layer sees the coordinates in reverse order


def flow(
    name: str, dim: int, layers: Layers, costly_log_prob: str | None = None
) -> Family:
    """The family of a diagonal normal vector transformed by these layers.

    A network puts out 2 numbers per coordinate for the normal, then the layers'. The
    mean has no closed form: `mean` is the normal's mean, transformed by the layers.
    """
    base = diagonal_normal()
    head, retrace_base = head_of(base), base.couplings.retrace
    assert retrace_base is not None
    count = head.outputs_per_coordinate + layers.outputs_per_coordinate

    def from_outputs(outputs: Array, weights: PyTree = ()) -> FlowParams:
        if outputs.shape != (count, dim):
            raise VaejaxError(
                f"{name} of dim {dim} reads outputs [{count}, {dim}], not "
                f"{list(outputs.shape)}: use dim = the number of latents"
            )
        own, rest = jnp.split(outputs, [head.outputs_per_coordinate])
        return FlowParams(head.from_outputs(own), layers.read(rest, weights))

    def to_outputs(mean: Float[Array, " D"]) -> Float[Array, "n D"]:
        """The outputs that give this mean at initial weights."""
        own = () if layers.weights is None else layers.weights(jax.random.key(0))
        rest = jnp.zeros((layers.outputs_per_coordinate, dim), mean.dtype)
        loc, _ = pull(layers, layers.read(rest, own), mean)
        return jnp.concatenate([head.to_outputs(loc), rest])

    def sample_and_log_prob(key: Key, params: FlowParams) -> Moved:
        start = base.sample(key, params.base)
        z, log_det = push(layers, params.layers, start)
        return z, base.log_prob(params.base, start) - log_det

    def log_prob(params: FlowParams, z: Float[Array, " D"]) -> Scalar:
        start, log_det = pull(layers, params.layers, z)
        return base.log_prob(params.base, start) - log_det

    def retrace(params: FlowParams, z: Float[Array, " D"]) -> Float[Array, " D"]:
        start, _ = pull(layers, params.layers, z)  # `retrace_base` stops the noise
        return push(layers, params.layers, retrace_base(params.base, start))[0]

    return Family(
        name=name,
        sample=lambda key, params: sample_and_log_prob(key, params)[0],
        log_prob=log_prob,
        mean=lambda params: push(layers, params.layers, base.mean(params.base))[0],
        head=Head(
            outputs_per_coordinate=count,
            from_outputs=from_outputs,
            to_outputs=to_outputs,
            weights=layers.weights,
        ),
        reparam="explicit",
        exact_mean=False,
        own_samples=OwnSamples(
            sample_and_log_prob=sample_and_log_prob, costly_log_prob=costly_log_prob
        ),
        couplings=Couplings(retrace=retrace),
    )


@partial(jax.jit, static_argnums=0)  # traced once for all the uses of a flow
def push(layers: Layers, params: PyTree, z: Float[Array, " D"]) -> Moved:
    """Apply all layers: z_L and the sum of log |det|."""

    def step(carry: Moved, layer: PyTree) -> tuple[Moved, None]:
        z, log_det = layers.forward(layer, carry[0])
        return (z[::-1] if layers.alternate else z, carry[1] + log_det), None

    (z, log_det), _ = jax.lax.scan(step, (z, jnp.zeros((), z.dtype)), params)
    return _in_order(layers, z), log_det


@partial(jax.jit, static_argnums=0)
def pull(layers: Layers, params: PyTree, z: Float[Array, " D"]) -> Moved:
    """Invert all layers: z_0 and the sum of the forward log |det|."""

    def step(carry: Moved, layer: PyTree) -> tuple[Moved, None]:
        z = carry[0][::-1] if layers.alternate else carry[0]
        z, log_det = layers.inverse(layer, z)
        return (z, carry[1] + log_det), None

    start = _in_order(layers, z), jnp.zeros((), z.dtype)
    moved, _ = jax.lax.scan(step, start, params, reverse=True)
    return moved


def _in_order(layers: Layers, z: Float[Array, " D"]) -> Float[Array, " D"]:
    """Undo the reversal that remains after `depth` layers, each followed by one."""
    return z[::-1] if layers.alternate and layers.depth % 2 else z


# Helpers of amortised layers.


def unpacking(
    depth: int, dim: int, **shapes: tuple[int, ...]
) -> tuple[int, Callable[[Float[Array, "n D"]], dict[str, Array]]]:
    """The layout of a layer's arrays, `depth` times, in a network's outputs.

    Returns:
        The outputs per coordinate, and the function that cuts outputs into arrays
        [depth, *shape]; fewer than `dim` numbers at the end may go unread.
    """
    sizes = [math.prod(shape) for shape in shapes.values()]
    numbers = depth * sum(sizes)

    def unpack(outputs: Float[Array, "n D"]) -> dict[str, Array]:
        rows = outputs.reshape(-1)[:numbers].reshape(depth, sum(sizes))
        parts = jnp.split(rows, np.cumsum(sizes)[:-1], axis=1)
        return {
            name: part.reshape(depth, *shape)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }

    return -(-numbers // dim), unpack


def above_minus_one(x: Array) -> Array:
    """An increasing function onto (-0.999, inf), 0 at 0: a slope's excess over 1.

    It meets the condition w'u > -1 of Rezende and Mohamed with a margin, so that
    neither a log-determinant nor an inverse overflows.
    """
    least = -0.999
    return least * (1 - jax.nn.softplus(x + math.log(math.e - 1)))


def directions(*shape: int) -> np.ndarray:
    """Initial directions of layers: unit vectors, the same at every call.

    Equal vectors, or zeros, would leave layers at a saddle where a network's outputs
    are zero, as a learned prior's are at first.
    """
    vectors = np.random.default_rng(0).standard_normal(shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def require_counts(**settings: int) -> None:
    """Refuse settings that are not integers of at least 1."""
    for name, value in settings.items():
        if type(value) is not int or value < 1:
            raise VaejaxError(f"{name} is {value!r}: use an integer of at least 1")
