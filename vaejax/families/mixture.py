"""Mixtures of the distributions of another family.

    q(z) = sum_c weight_c q_c(z; lam_c),    weight = softmax(log_weights)

A draw comes from one component, chosen by the weights. No derivative passes through the
choice, so gradients reach the weights by the score function, or by samples of every
component (`Family.strata`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Event,
    Family,
    Head,
    Key,
    OwnSamples,
    PyTree,
    Scalar,
    Strata,
    VaejaxError,
)
from vaejax.families.normal import diagonal_normal


class MixtureParams(NamedTuple):
    """Log-weights, up to a constant, and the components' parameters, stacked."""

    log_weights: Float[Array, " C"]
    components: DistParams  # every leaf [C, ...]


def mixture(component: Family | None = None, num_components: int = 5) -> Family:
    """A mixture over whole events, which makes their coordinates dependent.

    For every coordinate a network puts out numbers whose means over the coordinates are
    the log-weights, and each component's outputs. Equal outputs make equal components,
    which a prior `learned` from zeros never separates: use `gaussian_mixture`.

    Args:
        component: the family of every component (default: `diagonal_normal`).
        num_components: C, as a network's outputs describe them; the other functions
            take as many as their parameters hold.
    """
    if num_components < 1:
        raise VaejaxError(f"num_components is {num_components}: use at least 1")
    of_one = diagonal_normal() if component is None else component

    def sample(key: Key, params: MixtureParams) -> Event:
        choice_key, sample_key = jax.random.split(key)
        chosen = jax.random.categorical(choice_key, params.log_weights)
        own = jax.tree.map(lambda leaf: leaf[chosen], params.components)
        return of_one.sample(sample_key, own)

    def log_prob(params: MixtureParams, z: Event) -> Scalar:
        log_q = jax.vmap(of_one.log_prob, (0, None))(params.components, z)
        return logsumexp(jax.nn.log_softmax(params.log_weights) + log_q)

    def mean(params: MixtureParams) -> Event:
        weights = jax.nn.softmax(params.log_weights)
        means = jax.vmap(of_one.mean)(params.components)
        return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), means)

    def quadrature(
        params: MixtureParams, num_nodes: int
    ) -> tuple[Event, Float[Array, " nodes"]]:
        integrate = of_one.quadrature
        assert integrate is not None
        z, given = jax.vmap(lambda own: integrate(own, num_nodes))(params.components)
        weights = jax.nn.softmax(params.log_weights)[:, None] * given
        z = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), z)
        return z, weights.reshape(-1)

    def split(params: MixtureParams) -> tuple[Float[Array, " C"], DistParams]:
        return jax.nn.log_softmax(params.log_weights), params.components

    return Family(
        name="mixture",
        sample=sample,
        log_prob=log_prob,
        mean=mean,
        head=None if of_one.head is None else _head(of_one.head, num_components),
        space=of_one.space,
        quadrature=quadrature if of_one.quadrature else None,
        exact_mean=of_one.exact_mean,
        own_samples=OwnSamples(costly_log_prob=of_one.own_samples.costly_log_prob),
        strata=Strata(component=of_one, split=split),
    )


def _head(of_one: Head, size: int) -> Head:
    """The head of `size` components, from the head of one component."""

    def from_outputs(outputs: Array, weights: PyTree = ()) -> MixtureParams:
        logits, rest = outputs[:size], outputs[size:]
        return MixtureParams(
            logits.reshape(size, -1).mean(1),
            jax.vmap(lambda own: of_one.read(own, weights))(
                rest.reshape(size, -1, *outputs.shape[1:])
            ),
        )

    def to_outputs(mean: Array) -> Array:
        equal = jnp.zeros((size, *mean.shape), mean.dtype)
        return jnp.concatenate([equal, *[of_one.to_outputs(mean)] * size])

    return Head(
        outputs_per_coordinate=size * (1 + of_one.outputs_per_coordinate),
        from_outputs=from_outputs,
        to_outputs=to_outputs,
        weights=of_one.weights,
    )
