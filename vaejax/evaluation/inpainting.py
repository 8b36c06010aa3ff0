"""Inpainting: draws of the missing part of an observation given the rest.

A Markov chain draws x_m ~ p(x_m | x_o), the missing coordinates given the observed.
The pseudo-Gibbs chain (Rezende, Mohamed and Wierstra 2014, arXiv:1401.4082, appendix F)
takes q for the posterior,

    z ~ q(z | x_o, x_m),   x_m ~ p(x_m | z),

and is exact only where q is. With a Metropolis-Hastings step for z (Mattei and Frellsen
2018, arXiv:1802.04826), whose proposal is q and is accepted with probability

    min(1, w(z') / w(z)),   w(z) = p(x_o, x_m | z) p(z) / q(z | x_o, x_m),

p(z, x_m | x_o) is stationary whatever q is: q only determines how fast the chain mixes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vaejax.core import (
    Event,
    Example,
    Key,
    Model,
    Params,
    VaejaxError,
    as_array,
    as_arrays,
    check_data,
    plain,
)
from vaejax.core.doors import expect_counts, expect_example, expect_params
from vaejax.families.masked import require_independent
from vaejax.terms import log_terms


class Inpainted(NamedTuple):
    """The T draws of a chain; observed coordinates are as given."""

    x: Float[Array, "T ..."]
    mean: Float[Array, "T ..."]  # E[x | z] of each draw: less noisy to average
    accepted: Bool[Array, " T"]  # True where z moved


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
    """Draw the missing coordinates by z ~ q(z|x) and x_missing ~ p(x|z), in turn.

    Valid for: an encoder that is the exact posterior; else the chain is stationary at
    another distribution than p(x_missing | x_observed).

    Args:
        model: of independent coordinates given z.
        params: its parameters.
        example: the observation; at the missing coordinates, where the chain starts,
            or NaN or an infinity for a start that is drawn given the encoder's view of
            0 there.
        missing: True there.
        key: consumed.
        num_draws: T, all correlated.
        warm_up: steps before the first draw.

    Raises:
        VaejaxError: numbers, a mask or a model that cannot be.

    References:
        Rezende, Mohamed and Wierstra 2014, arXiv:1401.4082, appendix F.
    """
    example, missing = _check_chain(model, example, missing, num_draws, warm_up)
    expect_params(params, model)

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
    """Draw from p(x_missing | x_observed), in the limit of many steps.

    Valid for: any encoder whose support holds the posterior's. One that is far off is
    seldom accepted: look at `accepted`.

    Args:
        model: of independent coordinates given z, its posterior with a density.
        params: its parameters.
        example: the observation; at the missing coordinates, where the chain starts,
            or NaN, as for `pseudo_gibbs`, which draws good ones, as the paper advises.
        missing: True there.
        key: consumed.
        num_draws: T, all correlated.
        warm_up: steps before the first draw.

    Raises:
        VaejaxError: numbers, a mask or a model that cannot be.

    References:
        Mattei and Frellsen 2018, arXiv:1802.04826.
    """
    check_density(model)
    example, missing = _check_chain(model, example, missing, num_draws, warm_up)
    expect_params(params, model)

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
Move = Callable[[Key, Event, Array], tuple[Event, Array]]  # new z, and True if z moved


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
    """Alternate between a move of z and a draw of the missing coordinates."""

    def step(state: State, key: Key) -> tuple[State, Inpainted]:
        z_key, x_key = jax.random.split(key)
        z, accepted = move(z_key, *state)
        likelihood = model.decode(params, z, example.y)
        draw = model.likelihood.sample(x_key, likelihood)
        x = jnp.where(missing, draw, example.x)
        mean = jnp.where(missing, model.likelihood.mean(likelihood), example.x)
        return (z, x), Inpainted(x, mean, accepted)

    start_key, fill_key, key = jax.random.split(key, 3)
    unfilled = missing & ~jnp.isfinite(example.x)
    hidden = jnp.nan if model.likelihood.space.missing else 0
    seen = example._replace(x=jnp.where(unfilled, hidden, example.x))
    z = model.posterior.sample(start_key, model.encode(params, seen))
    drawn = model.likelihood.sample(fill_key, model.decode(params, z, example.y))
    start = z, jnp.where(unfilled, drawn, example.x)
    keys = jax.random.split(key, warm_up + num_draws)
    warmed, _ = jax.lax.scan(lambda s, k: (step(s, k)[0], None), start, keys[:warm_up])
    _, draws = jax.lax.scan(step, warmed, keys[warm_up:])
    return draws


def _check_chain(
    model: Model,
    example: Example,
    missing: Bool[Array, "..."],
    num_draws: int,
    warm_up: int,
) -> tuple[Example, Bool[Array, "..."]]:
    """The example, its observed coordinates checked, and the mask as an array."""
    example = as_arrays(expect_example("example", example))
    missing = jnp.asarray(as_array("missing", missing))
    if missing.dtype != bool:
        raise VaejaxError(
            f"missing is of dtype {missing.dtype}: use booleans, True where a value "
            "is missing"
        )
    if missing.shape != example.x.shape:
        raise VaejaxError(
            f"missing is of shape {missing.shape} and x of {example.x.shape}: give a "
            "boolean for every coordinate of x"
        )
    expect_counts(num_draws=num_draws)
    expect_counts(0, warm_up=warm_up)
    require_independent(model.likelihood)
    return check_data(model, example, batch_ndim=0, known=~missing), missing


def check_density(model: Model) -> None:
    """Refuse a posterior whose samples have no importance weights."""
    family = model.posterior
    if not family.has_density or family.own_samples.costly_log_prob:
        raise VaejaxError(
            f"the posterior of {model.name}, a {family.name}, gives no density of a "
            "given z, and its samples cannot be weighed: use a posterior such as "
            "diagonal_normal"
        )
