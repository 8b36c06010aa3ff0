"""The score-function gradient with a number as its baseline.

grad F(log_w(params; stop_gradient(z), lam)) + sum_k (F(log_w) - b) grad log q(z_k)
"""

import math

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
)
from vaejax.core.naming import named_by_settings
from vaejax.estimators.score_function import (
    UNBIASED,
    learning_signal,
    score_weights,
    with_score,
)
from vaejax.terms import bound_value, log_terms, make_stats, stopped_samples


@named_by_settings
def constant_baseline(value: float = 0.0) -> Estimator:
    """The score function, weighed by the excess of the bound over `value`, in nats.

    For a separable bound sample k is weighed by `(f_k - value) / K`. With 0 the
    estimator is `score_function`; a value near the expected bound lowers the variance.

    Valid for: every posterior and every bound; unbiased.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the score-function estimate.

    References:
        Williams 1992, "REINFORCE".

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> constant_baseline(-90.0).check(problem).status
        'unbiased'
    """
    if not math.isfinite(value):
        raise VaejaxError(f"the baseline is {value}: use a finite number of nats")

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        lam, z = stopped_samples(problem, params, key, example)
        terms = log_terms(problem.model, params, lam, z, example)
        total = bound_value(problem, params, lam, example, terms)
        signal = learning_signal(problem.bound, problem.bound.log_weight(terms))
        weights = score_weights(problem.bound, signal - value)
        return with_score(total, weights, terms), make_stats(total, terms)

    return Estimator(
        name="constant_baseline", surrogate=surrogate, check=lambda _: UNBIASED
    )
