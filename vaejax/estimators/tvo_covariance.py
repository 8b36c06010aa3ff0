"""The covariance gradient of the thermodynamic variational objective.

The objective is a sum over the path `pi_beta ~ q^(1 - beta) p^beta` from the posterior
to the model, of `E_{pi_beta} log w`. With z stopped,

    grad E_pi f = E_pi[grad f] + Cov_pi(grad log pi~, f)

holds for any f and any unnormalised density pi~, whether or not latents are
reparameterisable; all is estimated by one set of K self-normalised samples.
"""

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from vaejax.core import (
    Estimator,
    EstState,
    Example,
    Expectation,
    Key,
    LogTerms,
    Params,
    Problem,
    Scalar,
    Stats,
    Verdict,
)
from vaejax.terms import log_terms, make_stats, require, stopped_samples, with_value


def tvo_covariance() -> Estimator:
    """The covariance gradient for bounds that integrate along a path.

        sum_s width_s sum_k v_sk (grad f_k + (f_k - f_s) grad log pi~_sk)

    with `f = log_w`, `v_s = softmax(beta_s log_w)`, `f_s = sum_k v_sk f_k`, and
    `log pi~_s = beta_s log_w + log q`.

    Valid for: every posterior; the bounds `tvo`; K >= 2. In the model's parameters it
    is the gradient of the K-sample bound. In the encoder's it is that of the limit
    K -> inf of the bound, up to O(1/K): as an estimate of the K-sample bound's it is
    biased, which at beta = 0 is a factor of 1 - 1/K of the score's part.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the covariance estimate.

    References:
        Masrani, Le and Wood 2019, arXiv:1907.00031.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=tvo(), num_samples=8)
        >>> tvo_covariance().check(problem).status
        'biased'
    """
    return Estimator(
        name="tvo_covariance", surrogate=_surrogate, check=_check, target=_target
    )


def _check(problem: Problem) -> Verdict:
    bound = problem.bound
    refusal = require(
        bound.path is not None,
        f"tvo_covariance differentiates a sum over a thermodynamic path, and "
        f"{bound.name} has none",
        "use the bound 'tvo'",
    ) or require(
        problem.num_samples >= 2,
        "with K = 1 there is no covariance over samples",
        "use num_samples >= 2",
    )
    return refusal or Verdict(
        "biased",
        "self-normalised samples estimate the covariance up to O(1/K): use vimco or "
        "dreg for the gradient of the K-sample bound",
    )


def _surrogate(
    problem: Problem, params: Params, state: EstState, key: Key, example: Example
) -> tuple[Scalar, Stats]:
    dist_params, z = stopped_samples(problem, params, key, example)
    terms = log_terms(problem.model, params, dist_params, z, example)
    value = problem.bound.aggregate(problem.bound.log_weight(terms))
    return with_value(_along_path(problem, terms), value), make_stats(value, terms)


def _along_path(problem: Problem, terms: LogTerms) -> Scalar:
    """The bound along the path; the q in the denominator of its weights is stopped.

    `softmax(log pi~ - log q)` has the gradient `v_k (grad log pi~_k - its mean)`, which
    gives the covariance.
    """
    assert problem.bound.path is not None  # `check` refused the others
    log_w = problem.bound.log_weight(terms)
    widths, betas = jnp.asarray(problem.bound.path, log_w.dtype).T
    moved = terms.log_qz - stop_gradient(terms.log_qz)

    def expected(beta: Scalar) -> Scalar:
        return jnp.dot(jax.nn.softmax(beta * log_w + moved), log_w)

    return jnp.dot(widths, jax.vmap(expected)(betas))


def _target(
    problem: Problem, params: Params, example: Example, expectation: Expectation
) -> Scalar:
    return expectation.through_densities(lambda terms: _along_path(problem, terms))
