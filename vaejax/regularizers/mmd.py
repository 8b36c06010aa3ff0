"""Maximum mean discrepancy between the aggregated posterior and the prior (InfoVAE)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Batch, Key, Model, Params, Regularizer, Scalar
from vaejax.regularizers.draws import (
    check_batch,
    check_weight,
    needs_path,
    posterior_draws,
    prior_draws,
)


def mmd(weight: float = 10.0) -> Regularizer:
    """`weight` times the squared MMD between one z per example and as many from p(z).

        MMD^2 = E k(z, z') + E k(u, u') - 2 E k(z, u),   z ~ q(z), u ~ p(z)

    as a U-statistic (unbiased), with the kernel k(a, b) = C / (C + |a - b|^2), C = 2D.
    The term is batch-level: it compares the examples of a batch with each other.

    Valid for: reparameterisable posteriors, batches of at least 2.

    References:
        Zhao, Song and Ermon 2019, arXiv:1706.02262; Tolstikhin et al. 2018,
        arXiv:1711.01558, for the kernel.
    """
    check_weight("mmd", "weight", weight)

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        check_batch("mmd", batch)
        posterior_key, prior_key = jax.random.split(key)
        z = posterior_draws(model, params, posterior_key, batch)
        u = prior_draws(model, params, prior_key, batch)
        return weight * squared_mmd(z, u)

    return Regularizer(name="mmd", penalty=penalty, needs=needs_path)


def squared_mmd(a: Float[Array, "N D"], b: Float[Array, "N D"]) -> Scalar:
    """The U-statistic of the squared MMD of two samples of equal size N >= 2."""
    n = a.shape[0]

    def kernel(p: Float[Array, "N D"], q: Float[Array, "N D"]) -> Float[Array, "N N"]:
        scale = 2.0 * p.shape[1]
        distance = jnp.square(p[:, None] - q[None, :]).sum(-1)
        return scale / (scale + distance)

    pairs = kernel(a, a) + kernel(b, b) - kernel(a, b) - kernel(b, a)
    return (pairs.sum() - jnp.trace(pairs)) / (n * (n - 1))
