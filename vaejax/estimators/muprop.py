"""MuProp: a baseline linear in the sample, whose expectation is differentiated exactly.

The signal is expanded around the posterior's mean m(lam), an event between events for
discrete latents, to first order in all K samples at once:

    b(z) = F(m) + sum_k dF/dz_k(m) (z_k - m),    E b(z) = F(m) + F'(m) (E z - m).

What `(F(log_w) - b(z)) grad log q` takes away, `sum_k dF/dz_k(m) grad m(lam)` restores.
"""

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
    Key,
    Params,
    Problem,
    Scalar,
    Stats,
    Verdict,
)
from vaejax.estimators.score_function import (
    learning_signal,
    score_weights,
    stopped_samples,
    with_score,
)
from vaejax.terms import bound_value, log_terms, make_stats, require


def muprop() -> Estimator:
    """The score function with the first-order Taylor expansion at the mean as baseline.

        grad F(log_w(params; stop_gradient(z), lam))
            + sum_k (F(log_w) - b(z)) grad log q(z_k; lam) + F'(m) grad m(lam)

    For a separable bound sample k is weighed by its own `(f_k - b(z_k)) / K`. Costs one
    evaluation of the model more, at the mean, and a backward pass through it.

    Valid for: posteriors whose `mean` is the expectation of the event, differentiable
    in their parameters; every bound; unbiased.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the MuProp estimate.

    References:
        Gu, Levine, Sutskever and Mnih 2016, arXiv:1511.05176.
    """
    return Estimator(name="muprop", surrogate=_surrogate, check=_check)


def _check(problem: Problem) -> Verdict:
    family = problem.model.posterior
    refusal = require(
        family.exact_mean,
        "muprop differentiates the expectation of z, and the mean of these "
        f"{family.name} latents only stands for it",
        "use vimco or ovis_mc",
    )
    return refusal or Verdict(
        "unbiased", "the linear baseline's expectation is put back"
    )


def _surrogate(
    problem: Problem, params: Params, state: EstState, key: Key, example: Example
) -> tuple[Scalar, Stats]:
    bound = problem.bound
    lam, z = stopped_samples(problem, params, key, example)
    terms = log_terms(problem.model, params, lam, z, example)
    value = bound_value(problem, params, lam, example, terms)

    mean = problem.model.posterior.mean(lam)
    closed_params, closed_lam, closed_mean = stop_gradient((params, lam, mean))

    def log_weight(event: Event) -> Scalar:
        one = jax.tree.map(lambda leaf: leaf[None], event)
        return bound.log_weight(
            log_terms(problem.model, closed_params, closed_lam, one, example)
        )[0]

    # All K samples are at the same point: one evaluation serves them.
    log_w, slope = jax.value_and_grad(log_weight)(closed_mean)
    at_mean, bound_slope = jax.value_and_grad(bound.aggregate)(
        jnp.full(problem.num_samples, log_w)
    )
    linear = bound_slope * _along(slope, z, closed_mean)
    # Of a separable F each sample has its own part, F being their mean.
    linear = linear * linear.size if bound.separable else linear.sum()
    signal = learning_signal(bound, bound.log_weight(terms))
    weights = score_weights(bound, signal - at_mean - linear)

    surrogate = with_score(value, weights, terms)
    restored = bound_slope.sum() * _dot(slope, mean)
    return surrogate + (restored - stop_gradient(restored)), make_stats(value, terms)


def _along(slope: Event, z: Event, mean: DistParams) -> Float[Array, " K"]:
    """`slope (z_k - mean)` of every sample."""
    return jax.vmap(lambda z_k: _dot(slope, jax.tree.map(jnp.subtract, z_k, mean)))(z)


def _dot(slope: Event, event: Event) -> Scalar:
    parts = jax.tree.map(jnp.vdot, slope, event)
    return sum(jax.tree.leaves(parts), jnp.zeros(()))
