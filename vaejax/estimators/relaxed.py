"""Common parts of the estimators of relaxed latents: coupled noise, and biased paths.

A relaxation turns uniform noise u into a discrete event b = hard(lam, u), distributed
as the family's `sample`, and into a continuous event zeta = soft(lam, u, temperature),
which can be differentiated in lam and tends to b as the temperature falls.

A straight-through estimator evaluates the bound at b only. Another event, the stand-in,
replaces b in the derivative by lam:

    z_k = stop_gradient(b_k) + stand_in_k - stop_gradient(stand_in_k)
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Estimator,
    EstState,
    Event,
    Example,
    Family,
    Key,
    Keys,
    Params,
    Problem,
    Scalar,
    Stats,
    VaejaxError,
    Verdict,
)
from vaejax.terms import bound_value, log_terms, make_stats, require


class Draw(NamedTuple):
    """K latents, the noise that gives them, and a fresh key for each; all [K, ...]."""

    u: Event
    z: Event
    keys: Keys


def draw(problem: Problem, dist_params: DistParams, key: Key) -> Draw:
    """Draw K discrete latents, with the noise of their relaxation; z is stopped."""
    relax = problem.model.posterior.couplings.relax
    assert relax is not None  # `require_relaxation` refused the others
    pairs = jax.vmap(jax.random.split)(jax.random.split(key, problem.num_samples))
    u = jax.vmap(relax.noise, (0, None))(pairs[:, 0], dist_params)
    z = jax.vmap(relax.hard, (None, 0))(dist_params, u)
    return Draw(u, jax.tree.map(stop_gradient, z), pairs[:, 1])


def require_relaxation(problem: Problem, name: str) -> Verdict | None:
    """Refuse a problem whose posterior has no relaxation."""
    family = problem.model.posterior
    return require(
        family.couplings.relax is not None,
        f"{name} relaxes z, but {family.name} latents have no continuous relaxation",
        "use pathwise" if family.reparam else "use score_function or rloo",
    )


def check_biased(name: str, reason: str) -> Callable[[Problem], Verdict]:
    """The verdict of a biased estimator: refused without a relaxation, else biased."""
    return lambda problem: (
        require_relaxation(problem, name)
        or Verdict("biased", f"{reason}: use rebar or relax")
    )


# The stand-in for one latent: (family, state, lam, u, z, key) -> event.
StandIn = Callable[[Family, EstState, DistParams, Event, Event, Key], Event]


def straight_through_estimator(
    name: str, stand_in: StandIn, reason: str, temperature: "Annealing | None" = None
) -> Estimator:
    """The total derivative of the bound at discrete latents, through a stand-in.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound at discrete
        samples and whose gradient reaches lam through `stand_in`.
    """

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        model = problem.model
        dist_params = model.encode(params, example)
        u, z, keys = draw(problem, dist_params, key)
        soft = jax.vmap(
            lambda *sample: stand_in(model.posterior, state, dist_params, *sample)
        )(u, z, keys)
        z = jax.tree.map(lambda hard, s: hard + (s - stop_gradient(s)), z, soft)
        terms = log_terms(model, params, dist_params, z, example)
        value = bound_value(problem, params, dist_params, example, terms)
        return value, make_stats(value, terms)

    check = check_biased(name, reason)
    if temperature is None:
        return Estimator(name=name, surrogate=surrogate, check=check)
    return Estimator(
        name=name,
        surrogate=surrogate,
        check=check,
        init=temperature.init,
        update=temperature.update,
    )


class Annealing(NamedTuple):
    """The `init` and `update` of an estimator whose state is a temperature."""

    init: Callable[[Problem, Key], tuple[tuple[()], Scalar]]
    update: Callable[[Problem, Scalar, Stats], Scalar]


def annealing(temperature: float, rate: float, floor: float) -> Annealing:
    """The temperature max(floor, temperature exp(-rate n)) after n updates.

    Raises:
        VaejaxError: not 0 < floor <= temperature < inf, or a negative rate.
    """
    check_temperature(temperature)
    if not 0 < floor <= temperature:
        raise VaejaxError(
            f"the temperature falls from {temperature} to a floor of {floor}: use a "
            "floor above 0 and at most the temperature"
        )
    if not 0 <= rate < math.inf:
        raise VaejaxError(f"annealing_rate is {rate}: use a finite rate of at least 0")

    def update(problem: Problem, state: Float[Array, ""], stats: Stats) -> Scalar:
        return jnp.maximum(floor, state * math.exp(-rate))

    return Annealing(
        init=lambda problem, key: ((), jnp.asarray(temperature, float)),
        update=update,
    )


def check_temperature(temperature: float) -> None:
    """Raise VaejaxError unless the temperature is positive and finite."""
    if not 0 < temperature < math.inf:
        raise VaejaxError(f"the temperature is {temperature}: use a positive number")
