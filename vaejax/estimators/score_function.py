"""The score-function gradient (REINFORCE), for latents that cannot be differentiated.

The samples are stopped; their distribution's dependence on lam enters through
`E[grad log q(z_k; lam) (F(log_w) - b_k)]`, with any `b_k` that does not see `z_k`.
"""

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
    Params,
    Problem,
    Scalar,
    Stats,
    VaejaxError,
    Verdict,
)
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    require,
    sample_posterior,
    with_value,
)


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
    """
    if baseline not in _SIGNALS:
        raise VaejaxError(f"unknown baseline {baseline!r}: use one of {list(_SIGNALS)}")
    leave_one_out = baseline == "leave_one_out"
    name = "rloo" if leave_one_out else "score_function"
    signal = _SIGNALS[baseline]

    def check(problem: Problem) -> Verdict:
        if leave_one_out:
            refusal = require(
                problem.num_samples >= 2,
                "the leave-one-out baseline is the mean of the other samples, and with "
                "K = 1 there are none",
                "use num_samples >= 2, or score_function",
            ) or require(
                problem.bound.separable,
                f"the leave-one-out baseline needs a bound that is a mean over samples,"
                f" and {problem.bound.name} is not",
                "use score_function",
            )
            if refusal:
                return refusal
        return Verdict("unbiased", "the score has expectation zero times its baseline")

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        dist_params, z = sample_posterior(problem, params, key, example)
        z = jax.tree.map(stop_gradient, z)
        terms = log_terms(problem.model, params, dist_params, z, example)
        value = bound_value(problem, params, dist_params, example, terms)
        weights = signal(problem.bound, problem.bound.log_weight(terms))
        score = jnp.dot(stop_gradient(weights), terms.log_qz)
        return with_value(value + score, value), make_stats(value, terms)

    return Estimator(name=name, surrogate=surrogate, check=check)


def rloo() -> Estimator:
    """`score_function` with the leave-one-out baseline."""
    return score_function(baseline="leave_one_out")


def _per_sample(bound: Bound, log_w: Float[Array, " K"]) -> Float[Array, " K"]:
    """f(log_w_k) of a separable bound: its value at a single sample."""
    return jax.vmap(lambda one: bound.aggregate(one[None]))(log_w)


def _no_baseline(bound: Bound, log_w: Float[Array, " K"]) -> Float[Array, " K"]:
    if bound.separable:
        return _per_sample(bound, log_w) / log_w.shape[0]
    return jnp.broadcast_to(bound.aggregate(log_w), log_w.shape)


def _leave_one_out(bound: Bound, log_w: Float[Array, " K"]) -> Float[Array, " K"]:
    f = _per_sample(bound, log_w)
    others = (f.sum() - f) / (f.size - 1)
    return (f - others) / f.size


_SIGNALS = {"none": _no_baseline, "leave_one_out": _leave_one_out}
