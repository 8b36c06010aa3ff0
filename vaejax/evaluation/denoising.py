"""Denoising: the posterior mean of x given x', an observation through known noise.

By self-normalised importance sampling,

    E[x | x'] ~ sum_k w_k E[x | z_k, x'] / sum_k w_k,
    w_k = p(x' | z_k) p(z_k) / q(z_k | guess),   z_k ~ q(z | guess),

with p(x' | z) = int p(x' | x) p(x | z) dx in closed form. The encoded guess may be any
image, since the weights account for the guess: first x' itself, then the last estimate,
the adaptation of population Monte Carlo (Cappe, Guillin, Marin and Robert 2004).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Event,
    Example,
    Key,
    Model,
    Params,
    Scalar,
    VaejaxError,
    check_data,
    plain,
    record,
)
from vaejax.core.doors import expect_counts, expect_params
from vaejax.evaluation.inpainting import check_density
from vaejax.evaluation.log_likelihood import effective_sample_size
from vaejax.families import NormalParams
from vaejax.ops.random import one_pass
from vaejax.terms import log_terms


@record
class Noise:
    """Known noise p(x' | x), independent for every coordinate."""

    name: str
    law: str  # the law of the p(x | z) over which noise is integrated
    corrupt: Callable[[Key, Float[Array, "*event"]], Float[Array, "*event"]]
    through: Callable[[DistParams], DistParams]  # parameters: p(x | z) to p(x' | z)
    # Map the parameters of p(x | z) and x' to E[x | z, x'].
    clean: Callable[[DistParams, Float[Array, "*event"]], Float[Array, "*event"]]


def bit_flips(probability: float) -> Noise:
    """Noise that flips every bit with probability p.

    With m = E[x | z]: P(x' = 1 | z) = m (1 - p) + (1 - m) p.

    Raises:
        VaejaxError: a probability that is not between 0 and 1.
    """
    if not 0 < probability < 1:
        raise VaejaxError(
            f"bits are flipped with probability {probability}: use a probability "
            "between 0 and 1"
        )
    log_flip, log_keep = math.log(probability), math.log1p(-probability)

    def through(logits: Array) -> Array:
        return jnp.logaddexp(logits + log_keep, log_flip) - jnp.logaddexp(
            logits + log_flip, log_keep
        )

    def clean(logits: Array, noisy: Array) -> Array:
        return jax.nn.sigmoid(logits + (2 * noisy - 1) * (log_keep - log_flip))

    return Noise(
        name="bit_flips",
        law="bernoulli",
        corrupt=lambda key, x: jnp.where(
            jax.random.bernoulli(one_pass(key), probability, x.shape), 1 - x, x
        ),
        through=through,
        clean=clean,
    )


def gaussian_noise(scale: float) -> Noise:
    """Normal noise, x' = x + N(0, scale^2).

    With p(x | z) = N(m, s^2): p(x' | z) = N(m, s^2 + scale^2), and
    E[x | z, x'] = m + s^2 / (s^2 + scale^2) (x' - m).

    Raises:
        VaejaxError: a scale that is not positive and finite.
    """
    if not 0 < scale < math.inf:
        raise VaejaxError(f"the noise has scale {scale}: use a finite scale above 0")
    log_scale = math.log(scale)

    def through(params: NormalParams) -> NormalParams:
        return params._replace(
            log_scale=0.5 * jnp.logaddexp(2 * params.log_scale, 2 * log_scale)
        )

    def clean(params: NormalParams, noisy: Array) -> Array:
        share = jax.nn.sigmoid(2 * (params.log_scale - log_scale))
        return params.loc + share * (noisy - params.loc)

    return Noise(
        name="gaussian_noise",
        law="diagonal_normal",
        corrupt=lambda key, x: x + scale * jax.random.normal(one_pass(key), x.shape),
        through=through,
        clean=clean,
    )


class Denoised(NamedTuple):
    """The posterior mean of x and estimates of its error."""

    mean: Float[Array, "*event"]  # E[x | x']
    monte_carlo_error: Float[Array, "*event"]  # delta method
    effective_sample_size: Scalar  # (sum w)^2 / sum w^2, 1 to K


def denoise(
    model: Model,
    params: Params,
    noisy: Example,
    noise: Noise,
    key: Key,
    *,
    num_samples: int,
    rounds: int = 1,
) -> Denoised:
    """E[x | x'] by self-normalised importance sampling, biased by O(1 / K).

    Args:
        model: of clean x, its posterior with a density.
        params: its parameters.
        noisy: x', seen through the noise.
        noise: that the likelihood goes with.
        key: consumed.
        num_samples: K, of every round.
        rounds: the first encodes x', which the encoder has never seen the like of; the
            others what the last one made of it. Only the last is returned.

    Raises:
        VaejaxError: numbers, or a model and a noise, that cannot be.
    """
    expect_counts(num_samples=num_samples, rounds=rounds)
    if model.likelihood.law != noise.law:
        raise VaejaxError(
            f"{noise.name} needs the likelihood {noise.law}, and {model.name} has "
            f"{model.likelihood.name}: use another noise or likelihood"
        )
    check_density(model)
    expect_params(params, model)
    noisy = check_data(model, noisy, name="noisy", batch_ndim=0)

    def decode_noisy(params: Params, z: Event, y: Array | None) -> DistParams:
        return noise.through(model.decode(params, z, y))

    of_noisy = dataclasses.replace(model, decode=decode_noisy)

    def one_round(guess: Array, key: Key) -> Denoised:
        q = model.encode(params, noisy._replace(x=guess))
        keys = jax.random.split(key, num_samples)
        z = jax.vmap(model.posterior.sample, (0, None))(keys, q)
        log_w = plain(log_terms(of_noisy, params, q, z, noisy))
        weights = jax.nn.softmax(log_w)
        means = jax.vmap(
            lambda z: noise.clean(model.decode(params, z, noisy.y), noisy.x)
        )(z)
        mean = jnp.tensordot(weights, means, 1)
        variance = jnp.tensordot(weights**2, jnp.square(means - mean[None]), 1)
        return Denoised(mean, jnp.sqrt(variance), effective_sample_size(log_w))

    first, *others = jax.random.split(key, rounds)
    found = one_round(noisy.x, first)
    for key in others:
        found = one_round(found.mean, key)
    return found
