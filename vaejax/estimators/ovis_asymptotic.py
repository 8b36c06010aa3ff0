"""Optimal variance control of the score function (OVIS), without auxiliary samples.

With Z = mean_j w_j, v_k = w_k / sum_j w_j, and Z_[-k] the mean of the other weights,
the whole weight of sample k's score under IWAE is

    (log Z - v_k) - c_k,   c_k = log Z_[-k] - gamma v_k + (1 - gamma) log(1 - 1/K)

with a baseline c_k between the optimal ones at few effective samples (gamma = 0) and at
many (gamma = 1). `vaejax.estimators.ovis_mc` explains why this lowers the variance.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import (
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
from vaejax.core.naming import named_by_settings
from vaejax.estimators.ovis_mc import direct_weights
from vaejax.estimators.score_function import UNBIASED, with_score
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    require,
    stopped_samples,
    target_with_share,
)


@named_by_settings
def ovis_asymptotic(gamma: float = 0.0) -> Estimator:
    """OVIS with the baseline's limits at few (0) and many (1) effective samples.

        c_k = log Z_[-k] - gamma v_k + (1 - gamma) log(1 - 1/K)

    with Z_[-k] the mean of the other weights. For Renyi's bound, weights raised to a
    power p replace w, and 1/p log replaces log.

    Valid for: every posterior, bounds that are the log of a (power) mean of K >= 2
    weights. Unbiased for gamma = 0, where c_k does not see z_k. Biased otherwise: the
    encoder's expected gradient exceeds the bound's by gamma times the wake-phase
    gradient `E sum_k v_k grad log q(z_k; lam)`; the sum is its `target`.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the estimate.

    References:
        Lievin, Dittadi, Christensen and Winther 2020, arXiv:2008.01998, equation 17;
        its authors' code starts at gamma = 1.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=iwae(), num_samples=8)
        >>> ovis_asymptotic().check(problem).status
        'unbiased'
        >>> ovis_asymptotic(gamma=1.0).check(problem).status
        'biased'
    """
    if not 0 <= gamma <= 1:
        raise VaejaxError(f"gamma is {gamma}: use a number from 0 to 1")

    def check(problem: Problem) -> Verdict:
        refusal = require(
            _power(problem) is not None,
            "ovis_asymptotic needs the log of a mean of K >= 2 weights, and "
            f"{problem.bound.name} with K = {problem.num_samples} is not such a log",
            "use ovis_mc",
        )
        return refusal or (
            Verdict(
                "biased",
                "the part -gamma v_k of sample k's baseline depends on the sample: "
                "use gamma = 0, or ovis_mc",
            )
            if gamma > 0
            else UNBIASED
        )

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        lam, z = stopped_samples(problem, params, key, example)
        terms = log_terms(problem.model, params, lam, z, example)
        value = bound_value(problem, params, lam, example, terms)
        # F - c_k, by log Z - log Z_[-k] = log(1 - 1/K) - log(1 - v_k).
        power = _power(problem)
        assert power is not None  # `check` refused the others
        log_rest = _log_without(power * problem.bound.log_weight(terms))
        log_share = np.log1p(-1 / problem.num_samples)
        direct = direct_weights(problem.bound, stop_gradient(terms))
        weights = (gamma * log_share - log_rest) / power - gamma * direct
        return with_score(value, weights, terms), make_stats(value, terms)

    # The direct weight of sample k's score is -(1 - gamma) v_k in place of -v_k.
    target = functools.partial(target_with_share, share=1 - gamma)
    return Estimator(
        name="ovis_asymptotic",
        surrogate=surrogate,
        check=check,
        target=target if gamma > 0 else None,
    )


def _power(problem: Problem) -> float | None:
    """The power p of a bound `1/p log mean_k w_k^p` over all K samples, or None."""
    num_samples = problem.num_samples
    parts = problem.bound.expectation(num_samples)
    if num_samples < 2 or parts is None or len(parts) != 1:
        return None
    ((coefficient, size, power),) = parts
    return power if (coefficient, size) == (1, num_samples) else None


def _log_without(log_w: Float[Array, " K"]) -> Float[Array, " K"]:
    """Log(1 - v_k) of the normalised weights, accurate for v_k near 0 and near 1."""
    log_v = jax.nn.log_softmax(log_w)
    # Only the largest weight can exceed 1/2: its complement is the sum of the others.
    largest = jnp.arange(log_v.size) == log_v.argmax()
    others = logsumexp(jnp.where(largest, -jnp.inf, log_v))
    small = jnp.minimum(jnp.exp(log_v), 0.5)
    return jnp.where(log_v < np.log(0.5), jnp.log1p(-small), others)
