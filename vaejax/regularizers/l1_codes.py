"""The L1 norm of the codes, for sparse autoencoders."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from vaejax.core import Batch, Example, Key, Model, Params, Regularizer, Scalar
from vaejax.regularizers.draws import check_weight


def l1_codes(weight: float = 1.0) -> Regularizer:
    """`weight` times the L1 norm of an example's code, E q(z|x), mean over the batch.

        lambda mean_b sum_j |z_bj|

    Codes shrink, and larger weights of the decoder make up for it: use a decoder with
    bounded weights, as in `sparse_autoencoder`.

    References:
        Olshausen and Field 1996, "Emergence of simple-cell receptive field properties
        by learning a sparse code for natural images".
    """
    check_weight("l1_codes", "weight", weight)

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        def norm(example: Example) -> Scalar:
            mean = model.posterior.mean(model.encode(params, example))
            return jnp.abs(ravel_pytree(mean)[0]).sum()

        return weight * jax.vmap(norm)(batch.example).mean()

    return Regularizer(name="l1_codes", penalty=penalty, compares=False)
