"""The score-function gradient (REINFORCE), for latents that cannot be differentiated.

The samples are stopped; their distribution's dependence on lam enters through
`E[grad log q(z_k; lam) (F(log_w) - b_k)]`, with any `b_k` that does not depend on
`z_k`. All estimators of this family use the functions below the factories.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    Bound,
    Estimator,
    EstState,
    Example,
    Key,
    LogTerms,
    Params,
    Problem,
    Scalar,
    Stats,
    Verdict,
    unknown,
)
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    require,
    stopped_samples,
    with_value,
)

UNBIASED = Verdict("unbiased", "the score has expectation zero times its baseline")


def score_function(baseline: Literal["none", "leave_one_out"] = "none") -> Estimator:
    """The score-function gradient, with the other samples' mean as baseline or none.

        grad F(log_w(params; stop_gradient(z), lam))
            + sum_k (F(log_w) - b_k) grad log q(z_k; lam)

    For a separable bound, F = mean_k f(log_w_k), the terms of the other samples belong
    to b_k: sample k is weighed by `f_k / K` ("none"), or by
    `(f_k - mean_{j != k} f_j) / K` ("leave_one_out", RLOO).

    Valid for: every posterior and every bound, unbiased; leave-one-out needs K >= 2 and
    a separable bound.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the score-function estimate.

    References:
        Williams 1992, "REINFORCE"; Paisley, Blei and Jordan 2012, arXiv:1206.6430;
        leave-one-out: Kool, van Hoof and Welling 2019, "Buy 4 REINFORCE samples".

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=iwae(), num_samples=8)
        >>> score_function().check(problem).status
        'unbiased'
    """
    if baseline not in _BASELINES:
        raise unknown("baseline", baseline, _BASELINES)
    leave_one_out = baseline == "leave_one_out"
    baseline_of = _BASELINES[baseline]

    def check(problem: Problem) -> Verdict:
        refusal = leave_one_out and (
            require(
                problem.num_samples >= 2,
                "the leave-one-out baseline is the mean of the other samples, and with "
                "K = 1 there are none",
                "use num_samples >= 2, or score_function",
            )
            or require(
                problem.bound.separable,
                "the leave-one-out baseline needs a bound that is a mean over samples, "
                f"and {problem.bound.name} is not",
                "use vimco, or score_function",
            )
        )
        return refusal or UNBIASED

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        lam, z = stopped_samples(problem, params, key, example)
        terms = log_terms(problem.model, params, lam, z, example)
        value = bound_value(problem, params, lam, example, terms)
        signal = learning_signal(problem.bound, problem.bound.log_weight(terms))
        weights = score_weights(problem.bound, signal - baseline_of(signal))
        return with_score(value, weights, terms), make_stats(value, terms)

    name = "rloo" if leave_one_out else "score_function"
    return Estimator(name=name, surrogate=surrogate, check=check)


def rloo() -> Estimator:
    """`score_function` with the leave-one-out baseline.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=8)
        >>> rloo().check(problem).status
        'unbiased'
    """
    return score_function(baseline="leave_one_out")


def learning_signal(bound: Bound, log_w: Float[Array, " K"]) -> Float[Array, " K"]:
    """The learning signal of sample k: f(log_w_k) if the bound is separable, or F."""
    if bound.separable:
        return jax.vmap(lambda one: bound.aggregate(one[None]))(log_w)
    return jnp.broadcast_to(bound.aggregate(log_w), log_w.shape)


def score_weights(bound: Bound, residual: Float[Array, " K"]) -> Float[Array, " K"]:
    """The weights of the scores, from learning signals less baselines."""
    return residual / residual.size if bound.separable else residual


def with_score(value: Scalar, weights: Float[Array, " K"], terms: LogTerms) -> Scalar:
    """Add `sum_k weights_k grad log q(z_k; lam)` to the gradient of `value`."""
    score = jnp.dot(stop_gradient(weights), terms.log_qz)
    return with_value(value + score, value)


def _others(signal: Float[Array, " K"]) -> Float[Array, " K"]:
    return (signal.sum() - signal) / (signal.size - 1)


_BASELINES: dict[str, Callable[[Array], Array]] = {
    "none": jnp.zeros_like,
    "leave_one_out": _others,
}
