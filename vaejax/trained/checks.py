"""Checks of what a user gives a trained model besides observations."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core import (
    DistParams,
    Event,
    Example,
    Keys,
    Model,
    Params,
    VaejaxError,
    as_array,
    fold_examples,
)
from vaejax.core.doors import expect_key, expect_shapes
from vaejax.core.ranges import shown


def expect_word(name: str, given: Any, allowed: Collection[str]) -> None:
    """Refuse a word that is none of these.

    Raises:
        VaejaxError: another word, or no word.
    """
    if given not in allowed:
        raise VaejaxError(f"{name} is {shown(given)}: use {' or '.join(allowed)}")


def expect_keys(key: Any, count: int) -> Keys:
    """A key for every row, folded from its number; None stands for a key of seed 0."""
    key = jax.random.key(0) if key is None else expect_key(key)
    return fold_examples(key, jnp.arange(count))


def expect_latents(model: Model, params: Params, z: Any) -> tuple[Event, int]:
    """The latents as arrays, and how many there are.

    Raises:
        VaejaxError: another structure or shape than the model's; none; NaN or infinity.
    """
    asked = _code(model, params)
    leaves = [as_array("z", leaf) for leaf in jax.tree.leaves(z)]
    if len(leaves) == len(jax.tree.leaves(asked)):
        z = jax.tree.unflatten(jax.tree.structure(asked), leaves)
    count = len(leaves[0]) if leaves and leaves[0].ndim else 0
    like = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((count, *a.shape), a.dtype), asked
    )
    remedy = "latents as encode returns them, one or more"
    expect_shapes("z", z, like, f"the model {model.name}", remedy)
    if not count or not all(np.isfinite(leaf).all() for leaf in leaves):
        fault = "holds a number that is not finite" if count else "is empty"
        raise VaejaxError(f"z {fault}: give {remedy}")
    return z, count


def check_continuous(model: Model, params: Params) -> None:
    """Refuse codes that are not all real numbers.

    Raises:
        VaejaxError: naming the model.
    """
    leaves = jax.tree.leaves(_code(model, params))
    if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        raise VaejaxError(
            f"the codes of {model.name} hold integers, between which there are no "
            "lines: use decode of codes of your own choice"
        )


def _code(model: Model, params: Params) -> Event:
    """The shapes of the mean of q(z | x)."""
    return jax.eval_shape(
        lambda params: model.posterior.mean(_encode_zero(model, params)), params
    )


def holds_weights(model: Model, params: Params) -> bool:
    """True if networks' weights are among the parameters of every q(z | x).

    They are if the posterior's family has weights, or if it has no head, which would
    turn a network's outputs into its parameters, and arrays of the model pass through.
    """
    head = model.posterior.head
    if head is not None:
        return head.weights is not None
    traced = jax.make_jaxpr(lambda params: _encode_zero(model, params))(params).jaxpr
    return any(out is given for out in traced.outvars for given in traced.invars)


def _encode_zero(model: Model, params: Params) -> DistParams:
    """The parameters of q(z | x) at x = 0, for their shapes."""
    x = jnp.zeros(model.data_shape or ())
    y = None if model.labels.num_classes is None else jnp.zeros((), int)
    return model.encode(params, Example(x, y))
