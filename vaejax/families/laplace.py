"""Independent Laplace variables: absolute errors instead of the normal's squares.

    log p(z) = sum_i -|z_i - loc_i| / scale_i - log(2 scale_i)

Samples are loc + scale e, with e exponential of either sign.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Family, Key, Scalar
from vaejax.families.heads import two_outputs
from vaejax.families.scales import with_fixed_scale
from vaejax.ops.random import one_pass


class LaplaceParams(NamedTuple):
    """Location and log-scale of every coordinate; the deviation is sqrt(2) scales."""

    loc: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]


def laplace() -> Family:
    """Independent Laplace variables, explicitly reparameterised.

    As a likelihood it learns a scale for every pixel.
    """
    return Family(
        name="laplace",
        sample=_sample,
        log_prob=_log_prob,
        mean=lambda params: params.loc,
        head=two_outputs(LaplaceParams, lambda mean: (mean, jnp.zeros_like(mean))),
        factorised=True,
        reparam="explicit",
    )


def fixed_laplace(scale: float = 0.1) -> Family:
    """Independent Laplace variables of one fixed scale; the parameter is the mean."""
    return with_fixed_scale("fixed_laplace", laplace(), scale)


def _sample(key: Key, params: LaplaceParams) -> Float[Array, "*event"]:
    noise = jax.random.laplace(one_pass(key), params.loc.shape, params.loc.dtype)
    return params.loc + jnp.exp(params.log_scale) * noise


def _log_prob(params: LaplaceParams, z: Float[Array, "*event"]) -> Scalar:
    deviations = jnp.abs(z - params.loc) * jnp.exp(-params.log_scale)
    return -(deviations + params.log_scale + np.log(2)).reshape(-1).sum()
