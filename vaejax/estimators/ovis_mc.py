"""Optimal variance control of the score function (OVIS), by auxiliary samples.

The gradient through log q inside the weights also contains the score of sample k. The
whole weight of the score, for IWAE `log Z - v_k` with Z = mean_j w_j and
v_k = w_k / sum_j w_j, is

    d_k = F(log_w) + d F / d log q(z_k).

To first order in the weights the two parts cancel. With a baseline c_k close to the
expectation of d_k over z_k alone, the rest is of second order, and the encoder's
signal-to-noise ratio grows as K^(1/2) without any reparameterisation.
"""

import dataclasses

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
    VaejaxError,
)
from vaejax.core.naming import named_by_settings
from vaejax.estimators.score_function import UNBIASED, with_score
from vaejax.terms import bound_value, log_terms, make_stats, stopped_samples


@named_by_settings
def ovis_mc(auxiliary_samples: int = 1) -> Estimator:
    """OVIS with a baseline from S samples more: c_k = mean_s d_k(z_k replaced by z_s).

    The estimate takes O(S K^2) operations besides K + S evaluations of the model.

    Valid for: every posterior and every bound; unbiased, as c_k does not see z_k.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the score-function estimate.

    References:
        Lievin, Dittadi, Christensen and Winther 2020, arXiv:2008.01998, equation 12.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=iwae(), num_samples=8)
        >>> ovis_mc(auxiliary_samples=10).check(problem).status
        'unbiased'
    """
    if type(auxiliary_samples) is not int or auxiliary_samples < 1:
        raise VaejaxError(
            f"auxiliary_samples is {auxiliary_samples!r}: use an integer of at least 1"
        )

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        num_samples = problem.num_samples
        more = dataclasses.replace(problem, num_samples=num_samples + auxiliary_samples)
        lam, z = stopped_samples(more, params, key, example)
        z, others = (
            jax.tree.map(lambda leaf, part=part: leaf[part], z)
            for part in (slice(num_samples), slice(num_samples, None))
        )
        terms = log_terms(problem.model, params, lam, z, example)
        value = bound_value(problem, params, lam, example, terms)
        closed = stop_gradient((params, lam))
        baseline = _replaced_signal(
            problem.bound,
            stop_gradient(terms),
            log_terms(problem.model, *closed, others, example),
        )
        signal = problem.bound.aggregate(problem.bound.log_weight(terms))
        return with_score(value, signal - baseline, terms), make_stats(value, terms)

    return Estimator(name="ovis_mc", surrogate=surrogate, check=lambda _: UNBIASED)


def direct_weights(bound: Bound, terms: LogTerms) -> Float[Array, " K"]:
    """`d F / d log q(z_k)`: for plain weights and IWAE, -v_k."""
    return jax.grad(lambda t: bound.aggregate(bound.log_weight(t)))(terms).log_qz


def _replaced_signal(
    bound: Bound, terms: LogTerms, others: LogTerms
) -> Float[Array, " K"]:
    """The mean of d_k over auxiliary samples in the place of sample k."""
    num_samples = terms.log_qz.size

    def one(k: Array, other: LogTerms) -> Scalar:
        replaced = jax.tree.map(lambda all_, new: all_.at[k].set(new), terms, other)
        signal = bound.aggregate(bound.log_weight(replaced))
        return signal + direct_weights(bound, replaced)[k]

    each = jax.vmap(one, in_axes=(None, 0))
    return jax.vmap(each, in_axes=(0, None))(jnp.arange(num_samples), others).mean(1)
