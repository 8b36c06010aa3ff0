"""Generalised double reparameterisation, which reparameterises a prior's score too.

DReG exchanges the score of q for a path derivative. The prior's score, of latents that
came from q, goes the same way through p's own reparameterisation z = T(noise; theta):

    E_q[g grad log p(z; theta)] = E_p[(q/p) g grad log p]
                                = E_p[d((q/p) g)/dz grad T]
                                = E_q[(dg/dz + g d(log q - log p)/dz) grad T],

with grad T at the noise that T takes to z.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from vaejax.core import (
    Estimator,
    EstState,
    Event,
    Example,
    Key,
    Params,
    Problem,
    Scalar,
    Stats,
    Verdict,
)
from vaejax.estimators.dreg import slope_and_bend
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    penalty,
    require,
    require_reparam,
    sample_posterior,
    scale_gradient,
    with_value,
)


def gdreg() -> Estimator:
    """DReG, with the score of the prior doubly reparameterised as well.

        decoder:   sum_k F'_k grad log_w_k
        encoder:   sum_k (F'_k - s F''_kk) (d log_w_k/dz_k) dz_k/dlam
        prior:     c sum_k (F''_kk d log_w_k/dz_k
                            + F'_k d(log q - log p(z))/dz_k) dT/dtheta

    with `s = -d log_w / d log_q` and `c = d log_w / d log_p(z)`, both 1 for plain
    weights; for IWAE the last is `w~_k d log p(x|z_k)/dz_k - w~_k^2 d log_w_k/dz_k`. In
    a hierarchy T is the joint transport of all layers, and so is z(noise; lam).

    Valid for: reparameterisable posteriors, priors that can be retraced, every bound;
    unbiased. Where the prior is not learned it is `dreg`.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the generalised doubly reparameterised estimate.

    References:
        Bauer and Mnih 2021, arXiv:2101.11046.

    Examples:
        >>> problem = Problem(model=gaussian_toy(), bound=iwae(), num_samples=8)
        >>> gdreg().check(problem).status
        'unbiased'
    """
    return Estimator(name="gdreg", surrogate=_surrogate, check=_check)


def _check(problem: Problem) -> Verdict:
    prior = problem.model.latent_prior
    return (
        require_reparam(problem, "gdreg")
        or require(
            prior.couplings.retrace is not None,
            "gdreg moves latents along with their prior, but the noise of a "
            f"{prior.name} prior cannot be computed from the latents",
            "use dreg",
        )
        or Verdict("unbiased", "both scores are exchanged for their expectations")
    )


def _surrogate(
    problem: Problem, params: Params, state: EstState, key: Key, example: Example
) -> tuple[Scalar, Stats]:
    model, bound = problem.model, problem.bound
    retrace = model.latent_prior.couplings.retrace
    assert retrace is not None  # `check` refused the others
    dist_params, z = sample_posterior(problem, params, key, example)
    stopped = jax.tree.map(stop_gradient, dist_params)
    closed = jax.tree.map(stop_gradient, (params, z))
    terms = log_terms(model, closed[0], stopped, closed[1], example)
    slope, bend = slope_and_bend(bound, bound.log_weight(terms))
    by_log = jax.grad(lambda t: bound.log_weight(t).sum())(terms)

    # Two paths into the sample: from the posterior's parameters and from the prior's,
    # whose density stays closed. The forward pass is that above.
    prior_params = model.prior(params, example.y)
    moved = jax.vmap(retrace, (None, 0))(prior_params, closed[1])
    through_q = scale_gradient(z, 1 + by_log.log_qz * bend)
    through_p = scale_gradient(moved, by_log.log_pz * bend)
    given_prior = dataclasses.replace(
        model, prior=lambda _, y: model.prior(closed[0], y)
    )
    open_terms = log_terms(
        given_prior, params, stopped, _joined(through_q, through_p), example
    )

    ratio = jax.vmap(
        lambda z_k: (
            model.posterior.log_prob(stopped, z_k)
            - model.latent_prior.log_prob(model.prior(closed[0], example.y), z_k)
        )
    )(moved)
    surrogate = (
        jnp.dot(slope, bound.log_weight(open_terms))
        + jnp.dot(slope * by_log.log_pz, ratio)
        - penalty(problem, params, dist_params, example)
    )
    value = bound_value(problem, params, dist_params, example, terms)
    return with_value(surrogate, value), make_stats(value, terms)


@jax.custom_vjp
def _joined(z: Event, same: Event) -> Event:
    """Return `z`; pass its gradient to `same`, which has the same value, as well."""
    return z


def _joined_forward(z: Event, same: Event) -> tuple[Event, None]:
    return z, None


def _joined_backward(_: None, cotangent: Event) -> tuple[Event, Event]:
    return cotangent, cotangent


_joined.defvjp(_joined_forward, _joined_backward)
