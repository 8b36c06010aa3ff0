"""Variational inference for Monte Carlo objectives: leave-one-out for any bound.

The baseline of sample k is the bound of the other samples: the mean of their weights
replaces the weight of sample k, so that F still has K arguments:

    F(log_w) - F(log_w with log_w_k replaced by log mean_{j != k} w_j)   (arithmetic)
                                          or by mean_{j != k} log_w_j    (geometric)
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
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
    Verdict,
    unknown,
)
from vaejax.core.naming import named_by_settings
from vaejax.estimators.score_function import UNBIASED, with_score
from vaejax.terms import bound_value, log_terms, make_stats, require, stopped_samples


@named_by_settings
def vimco(mean: Literal["geometric", "arithmetic"] = "geometric") -> Estimator:
    """The score function with the bound of the other samples as baseline.

        grad F(log_w(params; stop_gradient(z), lam))
            + sum_k (F(log_w) - F(log_w; mean of the others)) grad log q(z_k; lam)

    With the geometric mean it is `rloo` on the ELBO. The baselines take O(K^2)
    operations, but no evaluation of the model.

    Valid for: every posterior, every bound, K >= 2; unbiased.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the score-function estimate.

    References:
        Mnih and Rezende 2016, arXiv:1602.06725.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=iwae(), num_samples=8)
        >>> vimco().check(problem).status
        'unbiased'
    """
    if mean not in _MEANS:
        raise unknown("mean", mean, _MEANS)
    mean_of_others = _MEANS[mean]

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        lam, z = stopped_samples(problem, params, key, example)
        terms = log_terms(problem.model, params, lam, z, example)
        value = bound_value(problem, params, lam, example, terms)
        log_w = problem.bound.log_weight(terms)
        weights = _without_each(problem.bound, log_w, mean_of_others(log_w))
        return with_score(value, weights, terms), make_stats(value, terms)

    return Estimator(name="vimco", surrogate=surrogate, check=_check)


def _check(problem: Problem) -> Verdict:
    refusal = require(
        problem.num_samples >= 2,
        "vimco replaces a sample by the mean of the others, and with K = 1 there are "
        "none",
        "use num_samples >= 2, or moving_average",
    )
    return refusal or UNBIASED


def _without_each(
    bound: Bound, log_w: Float[Array, " K"], replacement: Float[Array, " K"]
) -> Float[Array, " K"]:
    """F less the values of F with each log-weight in turn replaced."""
    same = np.eye(log_w.size, dtype=bool)
    replaced = jnp.where(same, replacement[:, None], log_w[None])
    return bound.aggregate(log_w) - jax.vmap(bound.aggregate)(replaced)


def _geometric(log_w: Float[Array, " K"]) -> Float[Array, " K"]:
    return (log_w.sum() - log_w) / (log_w.size - 1)


def _arithmetic(log_w: Float[Array, " K"]) -> Float[Array, " K"]:
    same = np.eye(log_w.size, dtype=bool)
    others = jnp.where(same, -jnp.inf, log_w[None])
    return logsumexp(others, axis=1) - np.log(log_w.size - 1)


_MEANS = {"geometric": _geometric, "arithmetic": _arithmetic}
