"""Networks as pairs of pure functions over plain dicts, and their activations."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaejax.core import Key, PyTree, record, unknown

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


def activation_named(name: str) -> Callable[[Array], Array]:
    """Look up an activation function by name; the error lists the names."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
