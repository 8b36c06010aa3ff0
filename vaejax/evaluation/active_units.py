"""Active units: the latents whose posterior mean moves with x."""

from functools import partial

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from vaejax.core import Example, Model, Params, check_data
from vaejax.core.doors import expect_params

THRESHOLD = 0.01


def active_units(model: Model, params: Params, examples: Example) -> int:
    """The number of latents with Var_x(E_q(z|x)[z]) > 0.01.

    In a hierarchy, upper layers' means are taken at the means of the layers that they
    are given, and a unit may move with another layer alone: see `layer_kl`.

    References:
        Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, section 5.2.
    """
    variance = posterior_means(model, params, examples).var(axis=0)
    return int((variance > THRESHOLD).sum())


def posterior_means(
    model: Model, params: Params, examples: Example
) -> Float[np.ndarray, "N Z"]:
    """E_q(z|x)[z] of every example, flattened."""
    expect_params(params, model)
    return np.asarray(_means(model, params, check_data(model, examples)))


@partial(jax.jit, static_argnums=0)
def _means(model: Model, params: Params, examples: Example) -> jax.Array:
    def one(example: Example) -> jax.Array:
        mean = model.posterior.mean(model.encode(params, example))
        return ravel_pytree(mean)[0]  # the means of all layers

    return jax.vmap(one)(examples)
