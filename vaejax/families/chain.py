"""A chain of latent layers, each drawn given the previous layer, as one family.

    bottom-up   p(z_1) p(z_2 | z_1) ... p(z_L | z_{L-1})
    top-down    p(z_L) p(z_{L-1} | z_L) ... p(z_1 | z_2)

An event is (z_1, ..., z_L) in either order of drawing, z_1 next to the data, so that a
top-down prior can score the events of a bottom-up posterior. The map from a layer to
the next layer's parameters is part of the density and of the sample: an estimator that
stops the gradient of the distribution's parameters stops the conditionals' weights, but
not the gradient through that map, as the path derivative d/dz log q(z) requires.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import (
    Conditionals,
    Couplings,
    DistParams,
    Family,
    Key,
    Outcomes,
    PyTree,
    Scalar,
)
from vaejax.families.normal import NormalParams

T = TypeVar("T")
Conditional = Callable[[PyTree, Array], DistParams]
Event = tuple[Float[Array, "..."], ...]
Weighted = tuple[Float[Array, "nodes ..."], Float[Array, " nodes"]]


class ChainParams(NamedTuple):
    """Parameters of the first layer drawn, and of the later layers' conditionals."""

    first: DistParams
    rest: tuple[PyTree, ...]  # in the order of drawing


def linear(params: PyTree, z: Float[Array, " In"]) -> NormalParams:
    """Normal parameters: a location linear in z, and a scale independent of z."""
    return NormalParams(params["weight"] @ z + params["bias"], params["log_scale"])


def chain(layer: Family, conditionals: Sequence[Conditional], top_down: bool) -> Family:
    """A chain of layers of one family: one layer more than conditionals.

    The chain is reparameterised, enumerated and integrated if the layer's family is. It
    has no head: the model's `encode` and `prior` return its `ChainParams`, which hold
    the conditionals. Its `mean` sets every layer to the conditional mean given the
    previous layer's mean: the exact mean for normal layers with `linear` conditionals,
    otherwise a summary.

    Args:
        layer: the family of every layer, given the one before.
        conditionals: from the arrays in `ChainParams.rest` and the layer before to the
            parameters of the next, in the order of drawing.
        top_down: whether z_L is drawn first, and not z_1.
    """

    def in_order(layers: Sequence[T]) -> tuple[T, ...]:
        return tuple(layers[::-1] if top_down else layers)

    def drawn(
        params: ChainParams, draw: Callable[[int, DistParams], Array]
    ) -> Sequence[Array]:
        """The layers in the order of drawing, each given by `draw(number, params)`."""
        layers = [draw(0, params.first)]
        for i, (conditional, own) in enumerate(
            zip(conditionals, params.rest, strict=True), start=1
        ):
            layers.append(draw(i, conditional(own, layers[-1])))
        return layers

    def sample(key: Key, params: ChainParams) -> Event:
        keys = jax.random.split(key, len(conditionals) + 1)
        return in_order(drawn(params, lambda i, own: layer.sample(keys[i], own)))

    def split(params: ChainParams, z: Event) -> tuple[DistParams, ...]:
        given = in_order(z)[:-1]
        rest = [
            conditional(own, before)
            for conditional, own, before in zip(
                conditionals, params.rest, given, strict=True
            )
        ]
        return in_order([params.first, *rest])

    def log_prob(params: ChainParams, z: Event) -> Scalar:
        return sum(map(layer.log_prob, split(params, z), z), jnp.zeros(()))

    def mean(params: ChainParams) -> Event:
        return in_order(drawn(params, lambda i, own: layer.mean(own)))

    def retrace(params: ChainParams, z: Event) -> Event:
        again, layers = layer.couplings.retrace, in_order(z)
        assert again is not None
        return in_order(drawn(params, lambda i, own: again(own, layers[i])))

    def paths(
        params: ChainParams, nodes_of: Callable[[DistParams], Weighted]
    ) -> tuple[Event, Float[Array, " paths"]]:
        """All paths of nodes through the layers, and the paths' weights."""
        nodes, weights = nodes_of(params.first)
        layers = [nodes]
        for conditional, own in zip(conditionals, params.rest, strict=True):
            leads_to = jax.vmap(partial(conditional, own))(layers[-1])
            nodes, given = jax.vmap(nodes_of)(leads_to)
            layers = [jnp.repeat(before, nodes.shape[1], axis=0) for before in layers]
            layers.append(nodes.reshape(-1, *nodes.shape[2:]))
            weights = (weights[:, None] * given).reshape(-1)
        return in_order(layers), weights

    def support(params: ChainParams) -> Event:
        def weighted(own: DistParams) -> Weighted:
            assert layer.outcomes is not None
            listed = layer.outcomes.support(own)
            return listed, jnp.ones(len(listed))

        return paths(params, weighted)[0]

    def count(z: tuple[PyTree, ...]) -> int:  # arrays, or their shapes
        assert layer.outcomes is not None
        return math.prod(map(layer.outcomes.count, z))

    def quadrature(
        params: ChainParams, num_nodes: int
    ) -> tuple[Event, Float[Array, " paths"]]:
        integrate = layer.quadrature
        assert integrate is not None
        return paths(params, lambda own: integrate(own, num_nodes))

    return Family(
        name=f"chain_of_{layer.name}",
        sample=sample,
        log_prob=log_prob,
        mean=mean,
        space=layer.space,
        # A linear function's mean is its value at the mean, which is a normal's `loc`.
        exact_mean=layer.name == "diagonal_normal"
        and all(conditional is linear for conditional in conditionals),
        reparam=layer.reparam,
        quadrature=quadrature if layer.quadrature else None,
        outcomes=Outcomes(support=support, count=count) if layer.outcomes else None,
        couplings=Couplings(retrace=retrace if layer.couplings.retrace else None),
        conditionals=Conditionals(layer=layer, split=split),
    )
