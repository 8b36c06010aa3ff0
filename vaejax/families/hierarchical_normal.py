"""Two layers of normal latents, one drawn given the other, as one joint family.

    first ~ N(m, diag(s^2)),   second | first ~ N(m(first), diag(s(first)^2))

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

from vaejax.core import Family, Key, PyTree, Scalar, VaejaxError
from vaejax.families.normal import NormalParams, diagonal_normal


class Layers(NamedTuple):
    """An event: the latents next to the data, and those above them."""

    z1: Float[Array, "..."]
    z2: Float[Array, "..."]


class LayersParams(NamedTuple):
    """The parameters of the layer that is drawn first, and of the other's network."""

    first: NormalParams
    conditional: PyTree  # arrays


def linear(params: PyTree, z: Float[Array, " In"]) -> NormalParams:
    """A location linear in z, and a scale of its own."""
    return NormalParams(params["weight"] @ z + params["bias"], params["log_scale"])


def hierarchical_normal(
    conditional: Callable[[PyTree, Array], NormalParams] = linear,
    first: Literal["z1", "z2"] = "z1",
) -> Family:
    """Two layers of normal latents, explicitly reparameterised.

    Its `mean` puts the second layer at the conditional's location at the first's mean:
    the mean itself where the conditional's location is linear, a summary elsewhere.

    Args:
        conditional: the second layer's parameters, from the arrays in
            `LayersParams.conditional` and the first layer.
        first: the layer that is drawn first.
    """
    if first not in Layers._fields:
        raise VaejaxError(f"unknown layer {first!r}: use 'z1' or 'z2'")
    normal = diagonal_normal()
    assert normal.quadrature is not None and normal.retrace is not None  # noqa: PT018
    quadrature, retrace_layer = normal.quadrature, normal.retrace

    def event(drawn_first: Array, drawn_second: Array) -> Layers:
        pair = drawn_first, drawn_second
        return Layers(*(pair if first == "z1" else pair[::-1]))

    def in_order(z: Layers) -> tuple[Array, Array]:
        return (z.z1, z.z2) if first == "z1" else (z.z2, z.z1)

    def sample(key: Key, params: LayersParams) -> Layers:
        first_key, second_key = jax.random.split(key)
        a = normal.sample(first_key, params.first)
        b = normal.sample(second_key, conditional(params.conditional, a))
        return event(a, b)

    def log_prob(params: LayersParams, z: Layers) -> Scalar:
        a, b = in_order(z)
        return normal.log_prob(params.first, a) + normal.log_prob(
            conditional(params.conditional, a), b
        )

    def mean(params: LayersParams) -> Layers:
        loc = params.first.loc
        return event(loc, conditional(params.conditional, loc).loc)

    def retrace(params: LayersParams, z: Layers) -> Layers:
        a, b = in_order(z)
        a = retrace_layer(params.first, a)
        return event(a, retrace_layer(conditional(params.conditional, a), b))

    def product_rule(
        params: LayersParams, num_nodes: int
    ) -> tuple[Layers, Float[Array, " nodes"]]:
        a, weights = quadrature(params.first, num_nodes)
        b, given = jax.vmap(
            lambda one: quadrature(conditional(params.conditional, one), num_nodes)
        )(a)
        a = jnp.repeat(a, given.shape[1], axis=0)
        b = b.reshape(-1, *b.shape[2:])
        return event(a, b), (weights[:, None] * given).reshape(-1)

    def unread(outputs: Any) -> NoReturn:
        raise VaejaxError(
            "the parameters of hierarchical_normal hold a conditional, not a number "
            "for every coordinate: use LayersParams in the model's encode and prior"
        )

    return Family(
        name="hierarchical_normal",
        sample=sample,
        log_prob=log_prob,
        mean=mean,
        outputs_per_coordinate=2,
        from_outputs=unread,
        to_outputs=unread,
        reparam="explicit",
        exact_mean=conditional is linear,
        quadrature=product_rule,
        retrace=retrace,
    )
