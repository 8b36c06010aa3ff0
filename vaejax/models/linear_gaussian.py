"""Probabilistic PCA with an amortised linear encoder: the exact oracle.

    p(z) = N(0, I),   p(x|z) = N(W z + b, sigma^2 I),   q(z|x) = N(A x + c, diag(s^2))

Everything is known in closed form: with `C = W W^T + sigma^2 I` and
`M = I + W^T W / sigma^2`,

    p(x)   = N(b, C),   p(z|x) = N(M^-1 W^T (x - b) / sigma^2, M^-1),
    ELBO   = log p(x) - KL(q(z|x) || p(z|x)).

Source: Tipping and Bishop 1999, "Probabilistic principal component analysis".
"""

import dataclasses
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import DistParams, Event, Example, Extras, Key, Model, Params, Scalar
from vaejax.core.ranges import Shape
from vaejax.families import NormalParams, diagonal_normal
from vaejax.models.assembly import event_of
from vaejax.priors import standard_normal


def linear_gaussian(
    data_shape: Shape = (4,),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 2,
) -> Model:
    """The linear-Gaussian model; its encoder's scale does not depend on x.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation; the decoder's bias starts there.
        latent_dim: number of latents; exact expectations need 1 or 2.
    """
    size = math.prod(data_shape)
    start = np.zeros(size) if data_mean is None else np.reshape(data_mean, size)

    def init(key: Key) -> Params:
        encoder_key, decoder_key = jax.random.split(key)
        encoder_weight = jax.random.normal(encoder_key, (latent_dim, size))
        decoder_weight = jax.random.normal(decoder_key, (size, latent_dim))
        return Params(
            encoder={
                "weight": encoder_weight / jnp.sqrt(size),
                "bias": jnp.zeros(latent_dim),
                "log_scale": jnp.zeros(latent_dim),
            },
            decoder={
                "weight": decoder_weight / jnp.sqrt(latent_dim),
                "bias": jnp.asarray(start, float),
                "log_scale": jnp.zeros(()),
            },
            prior=(),
        )

    def encode(params: Params, example: Example) -> NormalParams:
        weight, bias = params.encoder["weight"], params.encoder["bias"]
        loc = weight @ example.x.reshape(size) + bias
        return NormalParams(loc, params.encoder["log_scale"])

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        loc = params.decoder["weight"] @ z + params.decoder["bias"]
        log_scale = jnp.full(data_shape, params.decoder["log_scale"])
        return NormalParams(loc.reshape(data_shape), log_scale)

    prior = standard_normal(latent_dim)
    model = Model(
        name="linear_gaussian",
        init=init,
        encode=encode,
        decode=decode,
        prior=partial(prior.apply, encode),
        posterior=diagonal_normal(),
        latent_prior=prior.family,
        likelihood=diagonal_normal(),
        data_shape=data_shape,
        latent_shape=event_of(prior.family, (latent_dim,)),
    )
    return dataclasses.replace(
        model, extras=Extras(exact_elbo=partial(exact_elbo, model))
    )


class Gaussian(NamedTuple):
    """The mean and covariance of a multivariate normal distribution."""

    mean: Float[Array, " D"]
    covariance: Float[Array, "D D"]


def exact_posterior(params: Params, x: Float[Array, "*event"]) -> Gaussian:
    """The exact p(z|x), which does not depend on the encoder."""
    weight, variance = params.decoder["weight"], _variance(params)
    precision = jnp.eye(weight.shape[1]) + weight.T @ weight / variance
    covariance = jnp.linalg.inv(precision)
    residual = x.reshape(-1) - params.decoder["bias"]
    return Gaussian(covariance @ weight.T @ residual / variance, covariance)


def exact_log_px(params: Params, x: Float[Array, "*event"]) -> Scalar:
    """The exact log p(x), in nats."""
    weight = params.decoder["weight"]
    covariance = weight @ weight.T + _variance(params) * jnp.eye(weight.shape[0])
    residual = x.reshape(-1) - params.decoder["bias"]
    _, logdet = jnp.linalg.slogdet(2 * jnp.pi * covariance)
    return -0.5 * (logdet + residual @ jnp.linalg.solve(covariance, residual))


def exact_elbo(model: Model, params: Params, x: Float[Array, "*event"]) -> Scalar:
    """The exact ELBO, log p(x) - KL(q(z|x) || p(z|x)), in nats."""
    q = model.encode(params, Example(x))
    posterior = exact_posterior(params, x)
    precision = jnp.linalg.inv(posterior.covariance)
    shift = q.loc - posterior.mean
    variance = jnp.exp(2 * q.log_scale)
    kl = 0.5 * (
        jnp.dot(jnp.diagonal(precision), variance)
        + shift @ precision @ shift
        - q.loc.size
        + jnp.linalg.slogdet(posterior.covariance)[1]
        - 2 * q.log_scale.sum()
    )
    return exact_log_px(params, x) - kl


def _variance(params: Params) -> Scalar:
    return jnp.exp(2 * params.decoder["log_scale"])
