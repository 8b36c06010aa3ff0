"""Reconstructions of observations from their codes."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Example, Model, Params, check_data
from vaejax.core.doors import expect_params
from vaejax.terms import log_px_given


class Reconstruction(NamedTuple):
    """The reconstruction errors of every example, at the mean of q(z|x)."""

    log_px_z: Float[np.ndarray, " N"]  # nats
    squared_error: Float[
        np.ndarray, " N"
    ]  # the error of the mean of p(x|z), sum over observed coordinates


def reconstruction(model: Model, params: Params, examples: Example) -> Reconstruction:
    """Log p(x|z) and the squared error of E p(x|z), at z = E q(z|x)."""
    expect_params(params, model)
    found = _reconstruction(model, params, check_data(model, examples))
    return Reconstruction(*map(np.asarray, found))


@partial(jax.jit, static_argnums=0)
def _reconstruction(
    model: Model, params: Params, examples: Example
) -> tuple[Array, Array]:
    def one(example: Example) -> tuple[Array, Array]:
        z = model.posterior.mean(model.encode(params, example))
        found = model.decode(params, z, example.y)
        errors = jnp.square(model.likelihood.mean(found) - example.x)
        error = errors.sum(where=~jnp.isnan(example.x))
        return log_px_given(model, found, example.x), error

    return jax.lax.map(one, examples, batch_size=256)
