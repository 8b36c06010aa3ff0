"""Networks inside flow layers, learned together with the encoder."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Key, PyTree
from vaejax.families.flows.flow import Layers, Moved, require_counts
from vaejax.ops.matmul import vector_times_matrix


class ConditionedParams(NamedTuple):
    """One layer's network, and its context from the encoder."""

    network: list[dict[str, Array]]
    context: Float[Array, "*depth C"]


def conditioned_layers(
    depth: int,
    dim: int,
    context: int,
    sizes: Sequence[int],
    forward: Callable[[ConditionedParams, Float[Array, " D"]], Moved],
    inverse: Callable[[ConditionedParams, Float[Array, " D"]], Moved],
) -> Layers:
    """Layers with a network each, which sees `context` encoder outputs per latent.

    Args:
        depth: the number of layers.
        dim: the number of latents.
        context: numbers per latent, the same for all layers.
        sizes: of each network's input without context, hidden layers and output.
        forward: see `Layers`.
        inverse: see `Layers`.
    """
    require_counts(dim=dim, depth=depth, context=context)
    for width in sizes[1:]:
        require_counts(hidden=width)
    widths = [sizes[0] + context * dim, *sizes[1:]]

    def weights(key: Key) -> PyTree:
        keys = jax.random.split(key, depth)
        return jax.vmap(lambda k: _init(k, widths))(keys)

    def read(outputs: Float[Array, "n D"], weights: PyTree) -> ConditionedParams:
        row = outputs.reshape(-1)
        return ConditionedParams(weights, jnp.broadcast_to(row, (depth, row.size)))

    return Layers(
        depth=depth,
        outputs_per_coordinate=context,
        read=read,
        forward=forward,
        inverse=inverse,
        weights=weights,
        alternate=True,
    )


def _init(key: Key, sizes: Sequence[int]) -> list[dict[str, Array]]:
    """Weights by Glorot and Bengio 2010, but zeros in the last layer."""
    keys = jax.random.split(key, len(sizes) - 2) if len(sizes) > 2 else ()
    layers = [
        {
            "kernel": math.sqrt(2 / (n_in + n_out))
            * jax.random.normal(k, (n_in, n_out)),
            "bias": jnp.zeros(n_out),
        }
        for k, (n_in, n_out) in zip(keys, pairwise(sizes[:-1]), strict=True)
    ]
    last = {"kernel": jnp.zeros(sizes[-2:]), "bias": jnp.zeros(sizes[-1])}
    return [*layers, last]


def apply(
    params: ConditionedParams,
    x: Float[Array, " n"],
    masks: Sequence[np.ndarray] | None = None,
) -> Float[Array, " out"]:
    """The network's output, tanh between layers, for x and the context."""
    x = jnp.concatenate([x, params.context])
    for i, layer in enumerate(params.network):
        kernel = layer["kernel"]
        if masks is not None:
            kernel = kernel * masks[i].astype(kernel.dtype)
        x = vector_times_matrix(jnp.tanh(x) if i else x, kernel) + layer["bias"]
    return x


def affine(raw: Float[Array, "n 2"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Shift, and log-scale from -2 to 2, so that no scale diverges; both 0 at 0."""
    return raw[:, 0], 2 * jnp.tanh(raw[:, 1] / 2)
