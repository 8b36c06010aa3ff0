"""The L1 norm of the codes: what makes an autoencoder sparse."""

import math

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from vaejax.core import (
    Batch,
    Example,
    Key,
    Model,
    Params,
    Regularizer,
    Scalar,
    VaejaxError,
)


def l1_codes(weight: float = 1.0) -> Regularizer:
    """`weight` times the L1 norm of an example's code, E q(z|x), mean over the batch.

        lambda mean_b sum_j |z_bj|

    Codes shrink unless the decoder cannot make up for it: it wants one whose weights
    are bounded, as in `sparse_autoencoder`.

    References:
        Olshausen and Field 1996, "Emergence of simple-cell receptive field properties
        by learning a sparse code for natural images".
    """
    if not 0 <= weight < math.inf:  # so that NaN is refused too
        raise VaejaxError(
            f"the weight of l1_codes is {weight}: use at least 0, and finite"
        )

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        def norm(example: Example) -> Scalar:
            mean = model.posterior.mean(model.encode(params, example))
            return jnp.abs(ravel_pytree(mean)[0]).sum()

        return weight * jax.vmap(norm)(batch.example).mean()

    return Regularizer(name="l1_codes", penalty=penalty)
