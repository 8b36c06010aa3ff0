"""How much memory a gradient takes, known before anything is compiled."""

import jax
import jax.numpy as jnp

from vaejax.core import Batch, Example, Objective, PyTree


def example_bytes(objective: Objective, example: Example) -> int:
    """About how many bytes a gradient keeps of one example, by tracing it.

    They are the arrays that the forward pass leaves for the backward pass, less the
    parameters. What no backward pass needs is not counted, such as the K x K weights
    of VIMCO.

    Args:
        objective: what is to be minimised; a mean over examples.
        example: one, as the model sees it; only its shape and type count.
    """

    def kept(key: jax.Array, batch: Batch) -> tuple[PyTree, PyTree]:
        params, state = objective.init(key)
        pull_back = jax.vjp(lambda p: objective.loss(p, state, key, batch)[0], params)
        return pull_back[1], params

    batch = Batch(jax.tree.map(lambda leaf: leaf[None], example), jnp.arange(1))
    residuals, params = jax.eval_shape(kept, jax.random.key(0), batch)
    return max(0, _num_bytes(residuals) - _num_bytes(params))


def _num_bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
