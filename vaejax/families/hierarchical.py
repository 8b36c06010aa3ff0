"""Two layers of latents, one drawn given the other, as one joint family.

    p(z1, z2) = p(first) p(second | first),    the second's parameters a network's

An event holds both layers. Drawn first is z1 for a bottom-up posterior
q(z1|x) q(z2|z1), z2 for a top-down prior p(z2) p(z1|z2). The way from the first layer
into the second's parameters is part of the density and of the sample: an estimator
that stops the distribution's parameters stops the conditional's weights, and leaves
that way open, as the path derivative d/dz log q(z1, z2) requires.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import DistParams, Family, Key, PyTree, Scalar, VaejaxError
from vaejax.families.normal import NormalParams


class Layers(NamedTuple):
    """An event: the latents next to the data, and those above them."""

    z1: Float[Array, "..."]
    z2: Float[Array, "..."]


class LayersParams(NamedTuple):
    """The parameters of the layer that is drawn first, and of the other's network."""

    first: DistParams
    conditional: PyTree  # arrays


def linear(params: PyTree, z: Float[Array, " In"]) -> NormalParams:
    """A location linear in z, and a scale of its own."""
    return NormalParams(params["weight"] @ z + params["bias"], params["log_scale"])


def hierarchical(
    layer: Family,
    conditional: Callable[[PyTree, Array], DistParams],
    first: Literal["z1", "z2"] = "z1",
) -> Family:
    """Two layers of one family: reparameterised, summed and integrated as it is.

    Its `mean` puts the second layer at the conditional's mean given the first's mean:
    the mean itself of normal layers whose conditional is `linear`, else a summary.

    Args:
        layer: the family of either layer, given what it depends on.
        conditional: the second layer's parameters, from the arrays in
            `LayersParams.conditional` and the first layer.
        first: the layer that is drawn first.
    """
    if first not in Layers._fields:
        raise VaejaxError(f"unknown layer {first!r}: use 'z1' or 'z2'")

    def event(drawn_first: Array, drawn_second: Array) -> Layers:
        pair = drawn_first, drawn_second
        return Layers(*(pair if first == "z1" else pair[::-1]))

    def in_order(z: Layers) -> tuple[Array, Array]:
        return (z.z1, z.z2) if first == "z1" else (z.z2, z.z1)

    def sample(key: Key, params: LayersParams) -> Layers:
        first_key, second_key = jax.random.split(key)
        a = layer.sample(first_key, params.first)
        b = layer.sample(second_key, conditional(params.conditional, a))
        return event(a, b)

    def log_prob(params: LayersParams, z: Layers) -> Scalar:
        a, b = in_order(z)
        return layer.log_prob(params.first, a) + layer.log_prob(
            conditional(params.conditional, a), b
        )

    def mean(params: LayersParams) -> Layers:
        a = layer.mean(params.first)
        return event(a, layer.mean(conditional(params.conditional, a)))

    def retrace(params: LayersParams, z: Layers) -> Layers:
        assert layer.retrace is not None
        a, b = in_order(z)
        a = layer.retrace(params.first, a)
        return event(a, layer.retrace(conditional(params.conditional, a), b))

    def pairs(a: Array, b: Array) -> Layers:
        """Every node of the first layer with each of its own of the second."""
        a = jnp.repeat(a, b.shape[1], axis=0)
        return event(a, b.reshape(-1, *b.shape[2:]))

    def support(params: LayersParams) -> Layers:
        assert layer.support is not None
        a = layer.support(params.first)
        given = jax.vmap(lambda one: conditional(params.conditional, one))(a)
        return pairs(a, jax.vmap(layer.support)(given))

    def num_outcomes(z: Layers) -> int:
        assert layer.num_outcomes is not None
        return layer.num_outcomes(z.z1) * layer.num_outcomes(z.z2)

    def quadrature(
        params: LayersParams, num_nodes: int
    ) -> tuple[Layers, Float[Array, " nodes"]]:
        integrate = layer.quadrature
        assert integrate is not None
        a, weights = integrate(params.first, num_nodes)
        b, given = jax.vmap(
            lambda one: integrate(conditional(params.conditional, one), num_nodes)
        )(a)
        return pairs(a, b), (weights[:, None] * given).reshape(-1)

    def unread(outputs: Any) -> NoReturn:
        raise VaejaxError(
            "the parameters of a hierarchy hold a conditional, not a number for every "
            "coordinate: use LayersParams in the model's encode and prior"
        )

    return Family(
        name=f"hierarchical_{layer.name}",
        space=layer.space,
        sample=sample,
        log_prob=log_prob,
        mean=mean,
        outputs_per_coordinate=layer.outputs_per_coordinate,
        from_outputs=unread,
        to_outputs=unread,
        reparam=layer.reparam,
        # The mean of a linear function of the first layer, where a mean is a location.
        exact_mean=conditional is linear and layer.name == "diagonal_normal",
        support=support if layer.support else None,
        num_outcomes=num_outcomes if layer.num_outcomes else None,
        quadrature=quadrature if layer.quadrature else None,
        retrace=retrace if layer.retrace else None,
    )
