"""A class and normal latents: the latents of Kingma et al. 2014's M2 (see the model).

q(y, z) = C(y; probs) N(z; loc_y, diag(scale_y^2)),    y one-hot
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Family, Key, Scalar, Strata
from vaejax.families.normal import NormalParams, diagonal_normal


class Labelled(NamedTuple):
    """An event: the class, one-hot, and the other latents."""

    y: Float[Array, "... C"]
    z: Float[Array, "... Z"]


class LabelledParams(NamedTuple):
    """Log-probabilities of the classes, and z's parameters given each, stacked."""

    log_probs: Float[Array, " C"]
    given: NormalParams  # leaves [C, Z]


def labelled_normal() -> Family:
    """A class, and normal latents given y: a mixture whose event holds the component.

    The family has no head: the model `m2` makes the `LabelledParams` from one network's
    outputs for every class. `mean` holds the probabilities of the classes and the mean
    of z over the classes.
    """
    normal = diagonal_normal()

    def of_class(given: NormalParams, y: Float[Array, " C"]) -> NormalParams:
        return jax.tree.map(lambda leaf: y @ leaf, given)

    def sample(key: Key, params: LabelledParams) -> Labelled:
        class_key, z_key = jax.random.split(key)
        number = jax.random.categorical(class_key, params.log_probs)
        y = jax.nn.one_hot(number, params.log_probs.size)
        return Labelled(y, normal.sample(z_key, of_class(params.given, y)))

    def log_prob(params: LabelledParams, event: Labelled) -> Scalar:
        of_z = normal.log_prob(of_class(params.given, event.y), event.z)
        return event.y @ params.log_probs + of_z

    def mean(params: LabelledParams) -> Labelled:
        y = jnp.exp(params.log_probs)
        return Labelled(y, of_class(params.given, y).loc)

    def sample_component(key: Key, own: tuple[Array, NormalParams]) -> Labelled:
        y, given = own
        return Labelled(y, normal.sample(key, given))

    def log_prob_component(own: tuple[Array, NormalParams], event: Labelled) -> Scalar:
        y, given = own
        return (y * event.y).sum() * normal.log_prob(given, event.z)

    component = Family(
        name="diagonal_normal_of_a_class",
        sample=sample_component,
        log_prob=log_prob_component,
        mean=lambda own: Labelled(own[0], own[1].loc),
        reparam="explicit",
    )

    def split(
        params: LabelledParams,
    ) -> tuple[Float[Array, " C"], tuple[Array, NormalParams]]:
        return params.log_probs, (jnp.eye(params.log_probs.size), params.given)

    return Family(
        name="labelled_normal",
        sample=sample,
        log_prob=log_prob,
        mean=mean,
        strata=Strata(component=component, split=split),
    )
