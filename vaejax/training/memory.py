"""Estimates of the memory of a gradient, before compilation."""

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, subjaxprs

from vaejax.core import Batch, Example, Objective, PyTree


def gradient_bytes(objective: Objective, examples: Example) -> int:
    """Estimate the bytes that the gradient of a batch takes, by tracing it.

    The sum counts the arrays that the forward pass stores for the backward pass, less
    the parameters, and the largest temporary array, such as the K x K weights of VIMCO.

    Args:
        objective: what is to be minimised.
        examples: every leaf [B, ...], as the model sees it; only shapes and types
            count.
    """

    def forward(key: jax.Array, batch: Batch) -> tuple[PyTree, PyTree]:
        params, state = objective.init(key)
        pull_back = jax.vjp(lambda p: objective.loss(p, state, key, batch)[0], params)
        return pull_back[1], params

    batch = Batch(examples, jnp.arange(len(examples.x)))
    traced, (residuals, params) = jax.make_jaxpr(forward, return_shape=True)(
        jax.random.key(0), batch
    )
    kept = max(0, _num_bytes(residuals) - _num_bytes(params))
    return kept + _largest(traced.jaxpr)


def _largest(jaxpr: Jaxpr) -> int:
    """The bytes of the largest output of any operation."""
    made = (_num_bytes(v.aval) for eqn in jaxpr.eqns for v in eqn.outvars)
    return max([0, *made, *map(_largest, subjaxprs(jaxpr))])


def _num_bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
