"""The score-function gradient with the mean of the past signals as its baseline.

    grad F(log_w(params; stop_gradient(z), lam)) + sum_k (F(log_w) - b) grad log q(z_k)

The baseline b of step t averages the signals of the steps before t. A baseline that
included the signal of step t would shrink the gradient by its share in the mean.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core import (
    Estimator,
    EstState,
    Example,
    Key,
    Params,
    Problem,
    PyTree,
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
def moving_average(decay: float = 0.9) -> Estimator:
    """The score function, weighed by the excess of the bound over its running mean.

        b_{t+1} = decay b_t + (1 - decay) batch mean of F at step t,

    normalised, so that from the first update on b is a mean of signals (Kingma and Ba
    2015 do the same); before it, b is 0.

    Valid for: every posterior and every bound; unbiased.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the score-function estimate.

    References:
        Williams 1992, "REINFORCE"; Ranganath, Gerrish and Blei 2014, arXiv:1401.0118.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> moving_average(decay=0.99).check(problem).status
        'unbiased'
    """
    check_decay(decay)

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        lam, z = stopped_samples(problem, params, key, example)
        terms = log_terms(problem.model, params, lam, z, example)
        value = bound_value(problem, params, lam, example, terms)
        signal = learning_signal(problem.bound, problem.bound.log_weight(terms))
        weights = score_weights(problem.bound, signal - state.mean)
        stats = make_stats(value, terms)
        stats["signal"] = jax.lax.stop_gradient(signal.mean())
        return with_score(value, weights, terms), stats

    return Estimator(
        name="moving_average",
        surrogate=surrogate,
        check=lambda _: UNBIASED,
        init=lambda problem, key: ((), running_average(jnp.zeros(()))),
        update=lambda _, state, stats: advance(state, stats["signal"], decay),
    )


class RunningAverage(NamedTuple):
    """An exponentially weighted mean, and its accumulated weight, up to 1."""

    mean: PyTree
    weight: Scalar


def running_average(zeros: PyTree) -> RunningAverage:
    """The empty average, with the structure of `zeros`."""
    return RunningAverage(zeros, jnp.zeros(()))


def advance(average: RunningAverage, new: PyTree, decay: float) -> RunningAverage:
    """Add `new` to the average."""
    weight = decay * average.weight + (1 - decay)
    share = (1 - decay) / weight
    mean = jax.tree.map(lambda old, n: old + share * (n - old), average.mean, new)
    return RunningAverage(mean, weight)


def check_decay(decay: float) -> None:
    """Refuse a decay with which the average would stay constant, or diverge.

    Raises:
        VaejaxError: it is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise VaejaxError(
            f"the decay is {decay}: use a number of at least 0 and less than 1"
        )
