"""Gumbel-softmax: differentiate through latents that are continuous, not discrete.

With the noise u of a discrete latent, zeta = soft(lam, u, temperature) is a smooth
function of lam. The gradient of F(log_w(zeta)) has little variance and is that of
another bound, which tends to F as the temperature falls, while the variance grows as
1 / temperature. Log-densities of zeta are the discrete ones, which are defined between
the outcomes too (linear in zeta), as in Jang et al.
"""

import jax

from vaejax.core import (
    DistParams,
    Estimator,
    EstState,
    Event,
    Example,
    Family,
    Key,
    Params,
    Problem,
    Scalar,
    Stats,
)
from vaejax.core.naming import named_by_settings
from vaejax.estimators.relaxed import (
    annealing,
    check_biased,
    draw,
    straight_through_estimator,
)
from vaejax.terms import bound_value, log_terms, make_stats, with_value


@named_by_settings
def gumbel_softmax(
    temperature: float = 0.5, annealing_rate: float = 0.0, floor: float = 0.01
) -> Estimator:
    """The gradient of the bound of relaxed latents (the Concrete distribution).

        grad F(log_w(params; zeta(lam, u), lam)),   zeta = soft(lam, u, temperature)

    The value is the bound of the discrete latents that the same noise makes, at the
    price of a second forward pass; the relaxed bound is no bound on log p(x).

    Valid for: posteriors with a relaxation, every bound; biased.

    Args:
        temperature: the first; after n updates it is
            `max(floor, temperature exp(-annealing_rate n))`.
        annealing_rate: 0 leaves the temperature as it is.
        floor: where it stops falling.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound at discrete
        samples and whose gradient is the relaxed bound's.

    References:
        Jang, Gu and Poole 2017, arXiv:1611.01144; Maddison, Mnih and Teh 2017,
        arXiv:1611.00712.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> gumbel_softmax(temperature=1.0).check(problem).status
        'biased'
    """
    schedule = annealing(temperature, annealing_rate, floor)
    return Estimator(
        name="gumbel_softmax",
        surrogate=_surrogate,
        check=check_biased(
            "gumbel_softmax", "its gradient is the bound's of relaxed latents"
        ),
        init=schedule.init,
        update=schedule.update,
    )


def _surrogate(
    problem: Problem, params: Params, state: EstState, key: Key, example: Example
) -> tuple[Scalar, Stats]:
    model = problem.model
    dist_params = model.encode(params, example)
    u, z, _ = draw(problem, dist_params, key)
    relax = model.posterior.couplings.relax
    assert relax is not None
    zeta = jax.vmap(relax.soft, (None, 0, None))(dist_params, u, state)
    relaxed, discrete = (
        log_terms(model, params, dist_params, event, example) for event in (zeta, z)
    )
    value = bound_value(problem, params, dist_params, example, discrete)
    surrogate = bound_value(problem, params, dist_params, example, relaxed)
    return with_value(surrogate, value), make_stats(value, discrete)


@named_by_settings
def st_gumbel_softmax(
    temperature: float = 0.5, annealing_rate: float = 0.0, floor: float = 0.01
) -> Estimator:
    """Straight-through Gumbel-softmax: discrete forwards, relaxed backwards.

        sum_k (dF/db_k) d soft(lam, u_k, temperature)/dlam  + the rest of the gradient

    at b_k = hard(lam, u_k), of the same noise.

    Valid for: posteriors with a relaxation, every bound; biased, for the posterior
    only: the model's parameters see discrete latents.

    Args:
        temperature: the first; after n updates it is
            `max(floor, temperature exp(-annealing_rate n))`.
        annealing_rate: 0 leaves the temperature as it is.
        floor: where it stops falling.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound at discrete
        samples and whose gradient is the straight-through estimate.

    References:
        Jang, Gu and Poole 2017, arXiv:1611.01144.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> st_gumbel_softmax(temperature=1.0).check(problem).status
        'biased'
    """
    return straight_through_estimator(
        "st_gumbel_softmax",
        _relaxed,
        "its path is that of relaxed latents",
        annealing(temperature, annealing_rate, floor),
    )


def _relaxed(
    family: Family,
    temperature: Scalar,
    dist_params: DistParams,
    u: Event,
    z: Event,
    key: Key,
) -> Event:
    relax = family.couplings.relax
    assert relax is not None
    return relax.soft(dist_params, u, temperature)
