"""Several seeds of a training as one objective, trained by one program.

Every leaf of parameters and state gets a leading axis of seeds. Seeds differ in initial
parameters and noise; they share the order of the data and the observations, and a step
that is not finite for one seed is skipped, or stops the run, for all. Each seed is
trained as it would be alone by an optimizer that works coordinate by coordinate, such
as Adam; `each_seed` makes others so, such as a clipped global norm. On a device that
one model does not fill, several models cost little more.
"""

import dataclasses
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from vaejax.core import Batch, Example, Key, Objective, Params, PyTree, Scalar, Stats
from vaejax.core.doors import expect_key
from vaejax.terms import with_value

T = TypeVar("T")


def several_seeds(objective: Objective, num_seeds: int) -> Objective:
    """The objective of `num_seeds` models side by side.

    Loss and metrics are means over the seeds; each model receives the gradient of its
    loss, not divided by the number of seeds.
    """

    def init(key: Key) -> tuple[Params, PyTree]:
        return jax.vmap(objective.init)(jax.random.split(expect_key(key), num_seeds))

    def loss(
        params: Params, state: PyTree, key: Key, batch: Batch
    ) -> tuple[Scalar, tuple[PyTree, Stats]]:
        keys = jax.random.split(key, num_seeds)
        losses, (states, metrics) = jax.vmap(objective.loss, (0, 0, 0, None))(
            params, state, keys, batch
        )
        means = jax.tree.map(lambda leaf: leaf.mean(0), metrics)
        return with_value(losses.sum(), losses.mean()), (states, means)

    def start(
        params: Params, state: PyTree, examples: Example, key: Key
    ) -> tuple[Params, PyTree]:
        assert objective.start is not None
        begun = [
            objective.start(*of_seed((params, state), seed), examples, own)
            for seed, own in enumerate(jax.random.split(key, num_seeds))
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *begun)

    return dataclasses.replace(
        objective,
        init=init,
        loss=loss,
        start=None if objective.start is None else start,
    )


def of_seed(tree: T, seed: int) -> T:
    """Return the parameters or the state of one seed."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[seed], tree)


def each_seed(
    optimizer: optax.GradientTransformation, num_seeds: int
) -> optax.GradientTransformation:
    """The optimizer for every seed alone, if it compares coordinates: a clipped norm.

    Args:
        optimizer: of one seed.
        num_seeds: 1 leaves it as it is.
    """
    if num_seeds == 1:
        return optimizer
    update = jax.vmap(optimizer.update)
    return optax.GradientTransformation(jax.vmap(optimizer.init), update)
