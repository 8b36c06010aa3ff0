"""Disentangled inferred prior (DIP-VAE): the covariance of the aggregated posterior.

    lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2

with the covariance C = Cov_x[mu(x)] of the posterior means in type I, and of z in II,

    Cov_q(z)[z] = Cov_x[mu(x)] + E_x Cov[z|x].

Both are estimated within a batch, divided by its size B as in the paper. The penalty
squares the estimates, so their noise adds to it: about 1/B for every pair of
independent latents of variance 1.
"""

import jax
import jax.numpy as jnp

from vaejax.core import Batch, Key, Model, Params, Regularizer, Scalar
from vaejax.regularizers.draws import check_batch, check_weight


def dip_i(off_diagonal: float = 10.0, diagonal: float = 100.0) -> Regularizer:
    """DIP-VAE type I: a penalty on the covariance of the posterior means.

    Valid for: posteriors whose mean is known, of real latents.

    Args:
        off_diagonal: lambda_od.
        diagonal: lambda_d, in the paper 10 lambda_od for this type.

    References:
        Kumar, Sattigeri and Balakrishnan 2018, "Variational inference of disentangled
        latent concepts from unlabeled observations", arXiv:1711.00848.
    """
    return _dip("dip_i", off_diagonal, diagonal, of_means=True)


def dip_ii(off_diagonal: float = 10.0, diagonal: float = 10.0) -> Regularizer:
    """DIP-VAE type II: a penalty on the covariance of the latents.

    Valid for: diagonal normal posteriors.

    Args:
        off_diagonal: lambda_od.
        diagonal: lambda_d, in the paper lambda_od for this type.

    References:
        Kumar, Sattigeri and Balakrishnan 2018, arXiv:1711.00848.
    """
    return _dip("dip_ii", off_diagonal, diagonal, of_means=False)


def _dip(
    name: str, off_diagonal: float, diagonal: float, *, of_means: bool
) -> Regularizer:
    check_weight(name, "off_diagonal", off_diagonal)
    check_weight(name, "diagonal", diagonal)

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        check_batch(name, batch)
        posteriors = jax.vmap(lambda one: model.encode(params, one))(batch.example)
        means = jax.vmap(model.posterior.mean)(posteriors)
        means = means.reshape(len(means), -1)
        covariance = jnp.atleast_2d(jnp.cov(means, rowvar=False, bias=True))
        if not of_means:
            variances = jnp.exp(2 * posteriors.log_scale).mean(0).reshape(-1)
            covariance += jnp.diag(variances)
        own = jnp.diag(covariance)
        across = jnp.square(covariance).sum() - jnp.square(own).sum()
        return off_diagonal * across + diagonal * jnp.square(own - 1).sum()

    def needs(model: Model) -> str | None:
        posterior = model.posterior
        if posterior.law == "diagonal_normal":
            return None
        if of_means and posterior.space.kind == "reals" and posterior.exact_mean:
            return None
        return (
            f"it takes the {'mean' if of_means else 'mean and variance'} of every "
            f"latent, which a {posterior.name} does not give: use diagonal_normal"
        )

    return Regularizer(name=name, penalty=penalty, needs=needs)
