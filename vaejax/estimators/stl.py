"""Sticking the landing: leave out the score of q, whose expectation is zero."""

import functools

import jax
from jax.lax import stop_gradient

from vaejax.core import (
    Estimator,
    EstState,
    Example,
    Key,
    Params,
    Problem,
    Scalar,
    Stats,
    Verdict,
)
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    require_reparam,
    sample_posterior,
    target_with_share,
)

# A single function for all, so that estimators made twice are equal.
_TARGET = functools.partial(target_with_share, share=0.0)


def stl() -> Estimator:
    """The path derivative: q's parameters are stopped inside log q(z|x).

        grad F(log_w(params; z(params, noise), stop_gradient(lam)))

    At the exact posterior log_w is constant in z and the gradient is exactly 0.

    Valid for: reparameterisable posteriors. Unbiased where F is linear in the
    log-weights (the ELBO family, or K = 1); biased under IWAE with K > 1, where the
    score's weight depends on the sample: use `dreg` there. The `target` is its exact
    expectation in either case.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the path derivative.

    References:
        Roeder, Wu and Duvenaud 2017, arXiv:1703.09194; the bias under IWAE: Tucker et
        al. 2019, arXiv:1810.04152.

    Examples:
        >>> for bound in (elbo(), iwae()):
        ...     problem = Problem(model=gaussian_toy(), bound=bound, num_samples=8)
        ...     print(bound.name, stl().check(problem).status)
        elbo unbiased
        iwae biased
    """
    return Estimator(
        name="stl",
        surrogate=_surrogate,
        check=_check,
        target=_TARGET,
    )


def _check(problem: Problem) -> Verdict:
    if refusal := require_reparam(problem, "stl"):
        return refusal
    bound = problem.bound
    if bound.is_linear(problem.num_samples):
        return Verdict("unbiased", "the dropped score has expectation zero")
    return Verdict(
        "biased",
        f"{bound.name} is not linear in the log-weights, so that the dropped score has "
        "a weight that depends on its sample: use dreg",
    )


def _surrogate(
    problem: Problem, params: Params, state: EstState, key: Key, example: Example
) -> tuple[Scalar, Stats]:
    dist_params, z = sample_posterior(problem, params, key, example)
    stopped = jax.tree.map(stop_gradient, dist_params)
    terms = log_terms(problem.model, params, stopped, z, example)
    value = bound_value(problem, params, dist_params, example, terms)
    return value, make_stats(value, terms)
