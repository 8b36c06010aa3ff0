"""Networks as pairs of pure functions over plain dicts, and their activations."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from vaejax.core import Key, PyTree, VaejaxError, record, unknown

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
}


@record
class Network:
    """One example in, one array out: `apply(params, x)`, with `params = init(key)`."""

    init: Callable[[Key], PyTree]
    apply: Callable[[PyTree, Array], Array]


def from_nnx(build: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """Turn a flax NNX module into a `Network` over a plain dict of arrays.

    Raises:
        VaejaxError: a module that is made already.
    """
    if isinstance(build, nnx.Module):
        made = type(build).__name__
        raise VaejaxError(
            f"build is a module, {made}, that is made already: give a function that "
            f"makes it, as in from_nnx(lambda rngs: {made}(..., rngs=rngs))"
        )
    graph = nnx.graphdef(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

    def init(key: Key) -> PyTree:
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key)), nnx.Param))

    def apply(params: PyTree, x: Array) -> Array:
        module = nnx.merge(graph, nnx.State(jax.tree.map(nnx.Param, params)))
        return module(x)

    return Network(init=init, apply=apply)


def activation_named(name: str) -> Callable[[Array], Array]:
    """Look up an activation function by name; the error lists the names."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
