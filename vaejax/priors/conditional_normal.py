"""A normal prior for every class: p(z | y) = N(loc_y, diag(scale_y^2)), a table."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from vaejax.core import DistParams, Encode, Key, Labels, Params, Prior, VaejaxError
from vaejax.core.ranges import Classes
from vaejax.families import NormalParams, diagonal_normal


def conditional_normal(latent_dim: int = 50, num_classes: Classes = 10) -> Prior:
    """Independent normal latents, with locations and scales learned for each label.

    The locations start at random, standard normal, so that the classes differ.

    Args:
        latent_dim: number of latents.
        num_classes: labels y are the integers from 0 to this less 1.

    Raises:
        VaejaxError: at its use, if the examples have no integer label y.

    References:
        Sohn, Lee and Yan 2015, "Learning structured output representation using deep
        conditional generative models", for priors given y.
    """
    shape = num_classes, latent_dim

    def init(key: Key) -> NormalParams:
        return NormalParams(jax.random.normal(key, shape), jnp.zeros(shape))

    def apply(encode: Encode, params: Params, y: Array | None) -> DistParams:
        y = require_label("the prior conditional_normal", y, "gaussian_mixture")
        return jax.tree.map(lambda table: table[y], params.prior)

    return Prior(
        name="conditional_normal",
        family=diagonal_normal(),
        init=init,
        apply=apply,
        labels=Labels(num_classes=num_classes),
    )


def require_label(user: str, y: Array | None, without: str) -> Int[Array, ""]:
    """The label y, a single integer.

    Raises:
        VaejaxError: there is none, or it is no single integer; `without` names what
            needs none.
    """
    if y is None or jnp.shape(y) or not jnp.issubdtype(y.dtype, jnp.integer):
        given = "none" if y is None else f"{y.dtype} of shape {jnp.shape(y)}"
        raise VaejaxError(
            f"{user} needs a label for every example, and was given {given}: use "
            f"Example(x, y) with one integer y, or {without!r}, which needs none"
        )
    return y
