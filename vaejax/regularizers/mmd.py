"""Maximum mean discrepancy between the aggregated posterior and the prior (InfoVAE)."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import (
    Batch,
    Event,
    Example,
    Key,
    Model,
    Params,
    Regularizer,
    Scalar,
    VaejaxError,
    fold_examples,
)


def mmd(weight: float = 10.0) -> Regularizer:
    """`weight` times the squared MMD between one z per example and as many from p(z).

        MMD^2 = E k(z, z') + E k(u, u') - 2 E k(z, u),   z ~ q(z), u ~ p(z)

    as a U-statistic (unbiased), with the kernel k(a, b) = C / (C + |a - b|^2), C = 2D.
    Batch-level by nature: it compares the examples of a batch with each other.

    Valid for: reparameterisable posteriors, batches of at least 2.

    References:
        Zhao, Song and Ermon 2019, arXiv:1706.02262; Tolstikhin et al. 2018,
        arXiv:1711.01558, for the kernel.
    """
    if not 0 <= weight < math.inf:  # so that NaN is refused too
        raise VaejaxError(f"the weight of mmd is {weight}: use at least 0, and finite")

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        posterior_key, prior_key = jax.random.split(key)

        def pair(z_key: Key, u_key: Key, example: Example) -> tuple[Event, Event]:
            z = model.posterior.sample(z_key, model.encode(params, example))
            u = model.latent_prior.sample(u_key, model.prior(params, example.y))
            return z.reshape(-1), u.reshape(-1)

        z, u = jax.vmap(pair)(
            fold_examples(posterior_key, batch.global_index),
            fold_examples(prior_key, batch.global_index),
            batch.example,
        )
        return weight * squared_mmd(z, u)

    return Regularizer(name="mmd", penalty=penalty, needs=_needs)


def _needs(model: Model) -> str | None:
    if model.posterior.reparam is not None:
        return None
    return (
        "its gradient goes through samples of a reparameterisable posterior, and "
        f"{model.posterior.name} is none: leave the regularizer out"
    )


def squared_mmd(a: Float[Array, "N D"], b: Float[Array, "N D"]) -> Scalar:
    """The U-statistic of the squared MMD of two samples of equal size N >= 2.

    Raises:
        VaejaxError: a single pair, which has no other to be compared with.
    """
    n = a.shape[0]
    if n < 2:
        raise VaejaxError(
            f"mmd compares the examples of a batch with each other, and this one holds "
            f"{n}: use batches (and micro-batches) of at least 2"
        )

    def kernel(p: Float[Array, "N D"], q: Float[Array, "N D"]) -> Float[Array, "N N"]:
        scale = 2.0 * p.shape[1]
        distance = jnp.square(p[:, None] - q[None, :]).sum(-1)
        return scale / (scale + distance)

    pairs = kernel(a, a) + kernel(b, b) - kernel(a, b) - kernel(b, a)
    return (pairs.sum() - jnp.trace(pairs)) / (n * (n - 1))
