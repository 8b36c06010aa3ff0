"""The point mass: z is a function of x, as in an autoencoder."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Family

WHY_NO_OTHER = (
    "a point mass has no density, whose logarithm this estimator takes: use pathwise"
)


def point_mass() -> Family:
    """All mass at z, the parameter itself; its `log_prob` is 0, of no density.

    A posterior of this kind makes a model an autoencoder, under the bound
    `reconstruction`. Its gradient goes through z as the chain rule says.
    """
    return Family(
        name="point_mass",
        sample=lambda key, z: z,
        log_prob=lambda params, z: jnp.zeros(()),
        mean=lambda z: z,
        outputs_per_coordinate=1,
        from_outputs=_only,
        to_outputs=lambda mean: mean[None],
        reparam="explicit",
        costly_log_prob=WHY_NO_OTHER,
        has_density=False,
    )


def _only(outputs: Float[Array, "1 ..."]) -> Float[Array, "..."]:
    return outputs[0]
