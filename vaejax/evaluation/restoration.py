"""Images restored by posterior sampling: what is missing filled in, noise taken off.

Inpainting draws the missing coordinates given those observed, x_m ~ p(x_m | x_o), by a
Markov chain. The pseudo-Gibbs chain (Rezende, Mohamed and Wierstra 2014,
arXiv:1401.4082, appendix F) takes q for the posterior,

    z ~ q(z | x_o, x_m),   x_m ~ p(x_m | z),

and is exact only where q is. With a Metropolis-Hastings step for z (Mattei and Frellsen
2018, arXiv:1802.04826), whose proposal is q and is accepted with probability

    min(1, w(z') / w(z)),   w(z) = p(x_o, x_m | z) p(z) / q(z | x_o, x_m),

p(z, x_m | x_o) is stationary whatever q is: q only says how fast the chain mixes.

Denoising takes the mean of x given a noisy x' by self-normalised importance sampling,

    E[x | x'] ~ sum_k w_k E[x | z_k, x'] / sum_k w_k,
    w_k = p(x' | z_k) p(z_k) / q(z_k | guess),   z_k ~ q(z | guess),

with p(x' | z) = int p(x' | x) p(x | z) dx in closed form. The guess that is encoded may
be any image, since the weights account for it: first x' itself, then the last estimate.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vaejax.core import (
    DistParams,
    Event,
    Example,
    Key,
    Model,
    Params,
    Scalar,
    VaejaxError,
    plain,
    record,
)
from vaejax.families import NormalParams
from vaejax.terms import log_terms


class Inpainted(NamedTuple):
    """A chain's draws, T of them; observed coordinates are as they were given."""

    x: Float[Array, "T ..."]
    mean: Float[Array, "T ..."]  # E[x | z] of each draw: less noisy to average
    accepted: Bool[Array, " T"]  # whether z moved


def pseudo_gibbs(
    model: Model,
    params: Params,
    example: Example,
    missing: Bool[Array, "*event"],
    key: Key,
    *,
    num_draws: int,
    warm_up: int = 0,
) -> Inpainted:
    """Draw what is missing by z ~ q(z|x), x_missing ~ p(x|z), in turn.

    Valid for: an encoder that is the exact posterior; else the chain is stationary at
    another distribution than p(x_missing | x_observed).

    Args:
        model: of independent coordinates given z.
        params: its parameters.
        example: the observation; at the missing coordinates, where the chain starts.
        missing: True there.
        key: consumed.
        num_draws: T, all correlated.
        warm_up: steps before the first draw.

    Raises:
        VaejaxError: numbers or a model that cannot be.

    References:
        Rezende, Mohamed and Wierstra 2014, arXiv:1401.4082, appendix F.
    """
    _check_chain(model, num_draws, warm_up)

    def move(key: Key, z: Event, x: Array) -> tuple[Event, Array]:
        q = model.encode(params, example._replace(x=x))
        return model.posterior.sample(key, q), jnp.array(True)

    return _chain(model, params, example, missing, key, move, num_draws, warm_up)


def metropolis_within_gibbs(
    model: Model,
    params: Params,
    example: Example,
    missing: Bool[Array, "*event"],
    key: Key,
    *,
    num_draws: int,
    warm_up: int = 0,
) -> Inpainted:
    """Draw what is missing from p(x_missing | x_observed), in the limit of many steps.

    Valid for: any encoder whose support holds the posterior's. One that is far off is
    seldom accepted: look at `accepted`.

    Args:
        model: of independent coordinates given z, its posterior with a density.
        params: its parameters.
        example: the observation; at the missing coordinates, where the chain starts.
            `pseudo_gibbs` draws good ones, which the paper advises.
        missing: True there.
        key: consumed.
        num_draws: T, all correlated.
        warm_up: steps before the first draw.

    Raises:
        VaejaxError: numbers or a model that cannot be.

    References:
        Mattei and Frellsen 2018, arXiv:1802.04826, algorithm 1.
    """
    _check_chain(model, num_draws, warm_up)
    _check_density(model)

    def move(key: Key, z: Event, x: Array) -> tuple[Event, Array]:
        proposal_key, accept_key = jax.random.split(key)
        seen = example._replace(x=x)
        q = model.encode(params, seen)
        proposal = model.posterior.sample(proposal_key, q)
        both = jax.tree.map(lambda *pair: jnp.stack(pair), proposal, z)
        log_w = plain(log_terms(model, params, q, both, seen))
        accepted = -jax.random.exponential(accept_key) < log_w[0] - log_w[1]
        z = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposal, z)
        return z, accepted

    return _chain(model, params, example, missing, key, move, num_draws, warm_up)


State = tuple[Event, Array]  # z and x
Move = Callable[[Key, Event, Array], tuple[Event, Array]]  # to z, and whether it moved


def _chain(
    model: Model,
    params: Params,
    example: Example,
    missing: Bool[Array, "*event"],
    key: Key,
    move: Move,
    num_draws: int,
    warm_up: int,
) -> Inpainted:
    """Alternate between a move of z and a draw of what is missing."""

    def step(state: State, key: Key) -> tuple[State, Inpainted]:
        z_key, x_key = jax.random.split(key)
        z, accepted = move(z_key, *state)
        likelihood = model.decode(params, z, example.y)
        draw = model.likelihood.sample(x_key, likelihood)
        x = jnp.where(missing, draw, example.x)
        mean = jnp.where(missing, model.likelihood.mean(likelihood), example.x)
        return (z, x), Inpainted(x, mean, accepted)

    start_key, key = jax.random.split(key)
    start = model.posterior.sample(start_key, model.encode(params, example)), example.x
    keys = jax.random.split(key, warm_up + num_draws)
    warmed, _ = jax.lax.scan(lambda s, k: (step(s, k)[0], None), start, keys[:warm_up])
    _, draws = jax.lax.scan(step, warmed, keys[warm_up:])
    return draws


@record
class Noise:
    """Noise that falls on every coordinate by itself, p(x' | x), and is known."""

    name: str
    law: str  # of the likelihoods p(x | z) that it is integrated over
    corrupt: Callable[[Key, Float[Array, "*event"]], Float[Array, "*event"]]
    through: Callable[[DistParams], DistParams]  # of p(x' | z), by those of p(x | z)
    # E[x | z, x'], by the parameters of p(x | z) and x'.
    clean: Callable[[DistParams, Float[Array, "*event"]], Float[Array, "*event"]]


def bit_flips(probability: float) -> Noise:
    """Every bit is flipped with this probability p.

    With m = E[x | z]: P(x' = 1 | z) = m (1 - p) + (1 - m) p.

    Raises:
        VaejaxError: a probability that is not between 0 and 1.
    """
    if not 0 < probability < 1:
        raise VaejaxError(
            f"bits are flipped with probability {probability}: use one between 0 and 1"
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
            jax.random.bernoulli(key, probability, x.shape), 1 - x, x
        ),
        through=through,
        clean=clean,
    )


def gaussian_noise(scale: float) -> Noise:
    """X' = x + N(0, scale^2).

    With p(x | z) = N(m, s^2): p(x' | z) = N(m, s^2 + scale^2), and
    E[x | z, x'] = m + s^2 / (s^2 + scale^2) (x' - m).

    Raises:
        VaejaxError: a scale that is not positive and finite.
    """
    if not 0 < scale < math.inf:
        raise VaejaxError(f"the noise has scale {scale}: use a finite one above 0")
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
        corrupt=lambda key, x: x + scale * jax.random.normal(key, x.shape),
        through=through,
        clean=clean,
    )


class Denoised(NamedTuple):
    """The posterior mean of x, and what is known of its error."""

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
    if min(num_samples, rounds) < 1:
        raise VaejaxError(
            f"cannot denoise with {num_samples} samples in {rounds} rounds: use at "
            "least 1 of each"
        )
    if model.likelihood.law != noise.law:
        raise VaejaxError(
            f"{noise.name} goes with the likelihood {noise.law}, and {model.name} has "
            f"{model.likelihood.name}: use another noise or likelihood"
        )
    _check_density(model)

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
        return Denoised(mean, jnp.sqrt(variance), 1 / jnp.square(weights).sum())

    first, *others = jax.random.split(key, rounds)
    found = one_round(noisy.x, first)
    for key in others:
        found = one_round(found.mean, key)
    return found


def _check_chain(model: Model, num_draws: int, warm_up: int) -> None:
    if num_draws < 1 or warm_up < 0:
        raise VaejaxError(
            f"cannot draw {num_draws} times after {warm_up} steps: use at least 1 draw "
            "and 0 steps"
        )
    if not model.likelihood.factorised:
        raise VaejaxError(
            f"a {model.likelihood.name} is not known to have independent coordinates, "
            "and the missing ones cannot be drawn by themselves: use a likelihood such "
            "as bernoulli or diagonal_normal"
        )


def _check_density(model: Model) -> None:
    family = model.posterior
    if not family.has_density or family.costly_log_prob:
        raise VaejaxError(
            f"the posterior of {model.name}, a {family.name}, tells no density of a "
            "given z, and samples cannot be weighed: use one such as diagonal_normal"
        )
