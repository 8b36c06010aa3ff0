"""The point mass: z is a function of x, as in an autoencoder."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Family, Head, OwnSamples, VaejaxError, head_of, unknown
from vaejax.core.build import checked

WHY_NO_OTHER = (
    "a point mass has no density, whose logarithm this estimator takes: use pathwise"
)

# A code from a network's outputs, and back.
UNITS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "linear": (lambda outputs: outputs, lambda code: code),
    "relu": (jax.nn.relu, lambda code: code),
    "sigmoid": (jax.nn.sigmoid, jax.scipy.special.logit),
}


@checked
def point_mass(units: str = "linear") -> Family:
    """A point mass at z, the parameter itself; `log_prob` is 0, and not a density.

    A posterior of this kind makes a model an autoencoder, under the bound
    `reconstruction`. Its gradient goes through z by the chain rule.

    Args:
        units: what a network's outputs go through to become z: linear, relu, sigmoid.
    """
    if units not in UNITS:
        raise unknown("units", units, UNITS)
    activate, deactivate = UNITS[units]
    return Family(
        name="point_mass",
        sample=lambda key, z: z,
        log_prob=lambda params, z: jnp.zeros(()),
        mean=lambda z: z,
        head=Head(
            outputs_per_coordinate=1,
            from_outputs=lambda outputs: activate(outputs[0]),
            to_outputs=lambda mean: deactivate(mean)[None],
        ),
        reparam="explicit",
        has_density=False,
        own_samples=OwnSamples(costly_log_prob=WHY_NO_OTHER),
    )


@checked
def k_sparse(k: int = 25) -> Family:
    """A point mass at the k largest of a network's outputs, all others zero.

        z = a * 1{a is among the k largest of a},    a linear in the last hidden layer

    The gradient goes through the k outputs kept.

    References:
        Makhzani and Frey 2013, "k-sparse autoencoders", arXiv:1312.5663.
    """
    if k < 1:
        raise VaejaxError(f"k is {k}: keep at least 1 unit")

    def from_outputs(outputs: Float[Array, "1 Z"]) -> Float[Array, " Z"]:
        a = outputs[0]
        if k > a.size:
            raise VaejaxError(
                f"k_sparse keeps the {k} largest of {a.size} units: use a smaller k"
            )
        largest, kept = jax.lax.top_k(a, k)
        return jnp.zeros_like(a).at[kept].set(largest)

    every_unit = point_mass()
    head = dataclasses.replace(head_of(every_unit), from_outputs=from_outputs)
    return dataclasses.replace(every_unit, name="k_sparse", head=head)
