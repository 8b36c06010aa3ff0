"""Control variates by relaxation: unbiased, with less variance for a close relaxation.

With u the noise of a discrete latent b = hard(lam, u), let zeta = soft(lam, u) be its
relaxation, and zeta~ a relaxation drawn afresh given b. For any function c

    E[c(zeta~) grad log q(b; lam)] = E[grad c(zeta)] - E[grad c(zeta~)]

where the gradients on the right go through the relaxations alone. The score's weight F
can therefore be lowered by c, and two paths restore the gradient:

    g = dF/dlam + (F(b) - eta c(zeta~)) grad log q(b) + eta grad c(zeta)
        - eta grad c(zeta~)

has the expectation of the score-function gradient, whatever c, eta and temperature are.
All three are trained to minimise the variance of g: since the mean of g does not depend
on them, d Var(g) = E[d |g|^2], for which one sample is enough.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    Bound,
    DistParams,
    Estimator,
    EstState,
    Event,
    Example,
    Key,
    Model,
    Params,
    Problem,
    PyTree,
    Scalar,
    Stats,
    VaejaxError,
    Verdict,
)
from vaejax.core.naming import named_by_settings
from vaejax.estimators.relaxed import check_temperature, draw, require_relaxation
from vaejax.terms import bound_value, log_terms, make_stats, minimize_beside, with_value

# (auxiliary, log_w[K] at zeta, zeta[K, *event]) -> the log-weights[K] of c = F(...).
LogControl = Callable[[PyTree, Float[Array, " K"], Event], Float[Array, " K"]]


@named_by_settings
def rebar(temperature: float = 0.5, eta: float = 1.0) -> Estimator:
    """The score function with the relaxed bound as control variate.

        dF/dlam + sum_k (F(b) - eta F(zeta~)) grad log q(b_k; lam)
            + eta grad [F(zeta) - F(zeta~)]

    with F(z) = F(log_w(z)); for a separable bound sample k is weighed by its terms of
    F. The log-densities of zeta are the discrete ones, which are defined between the
    outcomes too. `eta` and the temperature are learned.

    Valid for: posteriors with a relaxation, every bound; unbiased. It costs three
    forward passes.

    Args:
        temperature: of the relaxation, to start from.
        eta: weight of the control variate, to start from.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the REBAR estimate; beside it the variance of the estimate is
        descended in eta and log temperature.

    References:
        Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein 2017, arXiv:1703.07370.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> rebar(temperature=0.3).check(problem).status
        'unbiased'
    """
    start = start_of(temperature, eta)
    return controlled(
        "rebar",
        init=lambda problem, key: (start(), ()),
        log_control=lambda auxiliary, log_w, zeta: log_w,
    )


def start_of(temperature: float, eta: float) -> Callable[[], dict[str, PyTree]]:
    """The parameters that every control variate by relaxation has.

    Raises:
        VaejaxError: the temperature is not positive, or eta not finite.
    """
    check_temperature(temperature)
    if not math.isfinite(eta):
        raise VaejaxError(f"eta is {eta}: use a finite number")
    return lambda: {
        "eta": jnp.asarray(eta, float),
        "log_temperature": jnp.asarray(math.log(temperature), float),
    }


def controlled(
    name: str,
    init: Callable[[Problem, Key], tuple[PyTree, EstState]],
    log_control: LogControl,
    needs: Callable[[Model], Verdict | None] = lambda model: None,
) -> Estimator:
    """The estimator with c(zeta) = F(log_control(auxiliary, log_w(zeta), zeta)).

    The estimator refuses posteriors without a relaxation, and models by `needs`.
    """

    def check(problem: Problem) -> Verdict:
        return (
            require_relaxation(problem, name)
            or needs(problem.model)
            or Verdict(
                "unbiased",
                "the paths of the control variate return what the score loses to it",
            )
        )

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        model, bound, auxiliary = problem.model, problem.bound, params.auxiliary
        dist_params = model.encode(params, example)
        lam, frozen = jax.tree.map(stop_gradient, (dist_params, params))
        u, z, keys = draw(problem, lam, key)
        relax = model.posterior.couplings.relax
        assert relax is not None
        v = jax.vmap(relax.noise, (0, None))(keys, lam)
        temperature = jnp.exp(auxiliary["log_temperature"])

        def control(zeta: Event) -> Float[Array, " K"]:
            log_w = bound.log_weight(log_terms(model, frozen, lam, zeta, example))
            return log_control(auxiliary, log_w, zeta)

        def given(lam: DistParams) -> Event:
            axes = (None, 0, 0, None)
            return jax.vmap(relax.conditional, axes)(lam, v, z, temperature)

        closed = log_terms(model, frozen, lam, z, example)
        weights = _shares(bound, bound.log_weight(closed))
        weights -= auxiliary["eta"] * _shares(bound, control(given(lam)))

        def stand_in(lam: DistParams) -> Scalar:
            terms = log_terms(model, frozen, lam, z, example)
            soft = jax.vmap(relax.soft, (None, 0, None))(lam, u, temperature)
            paths = bound.aggregate(control(soft)) - bound.aggregate(
                control(given(lam))
            )
            return (
                bound.aggregate(bound.log_weight(terms))
                + jnp.dot(weights, terms.log_qz)
                + auxiliary["eta"] * paths
            )

        # The estimate, as a function of the auxiliary parameters alone.
        g, _ = ravel_pytree(jax.grad(stand_in)(lam))
        # The model's gradient is that at the discrete latents; the gradient in lam is
        # the estimate, besides a closed-form penalty.
        terms = log_terms(model, params, lam, z, example)
        value = bound_value(problem, params, dist_params, example, terms)
        step = jnp.vdot(stop_gradient(g), ravel_pytree(dist_params)[0])
        estimate = minimize_beside(
            problem, with_value(value + step, value), jnp.vdot(g, g)
        )
        return estimate, make_stats(value, terms)

    return Estimator(name=name, surrogate=surrogate, check=check, init=init)


def _shares(bound: Bound, log_w: Float[Array, " K"]) -> Float[Array, " K"]:
    """The weight of each sample's score: F, or the sample's term if F is separable."""
    if bound.separable:
        return jax.vmap(lambda one: bound.aggregate(one[None]))(log_w) / log_w.shape[0]
    return jnp.broadcast_to(bound.aggregate(log_w), log_w.shape)
