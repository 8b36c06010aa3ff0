"""Enumeration: sums over the outcomes of a sample instead of a draw.

With S outcomes, autodiff of E f(z) = sum_s q(s; lam) f(s) gives the exact gradient. A
bound of K samples has S^K outcomes; the sum runs over the outcomes of each sample in
turn, while the other samples stay as drawn (local expectation gradients):

    d/dlam E F(z_1, ..., z_K) = E sum_k sum_s dq(s; lam)/dlam F(z_k = s).
"""

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
    Verdict,
)
from vaejax.core.naming import named_by_settings
from vaejax.core.ranges import MostOutcomes
from vaejax.terms import (
    expected_terms,
    log_terms,
    make_stats,
    penalty,
    require_outcomes,
    with_value,
)


@named_by_settings
def enumeration(max_outcomes: MostOutcomes = 1024) -> Estimator:
    """The gradient of E F, with every sample's outcomes summed over.

        H = 1/K sum_k sum_s q(s; lam) F(log_w with sample k at outcome s)

    H is the mean of K conditional expectations of the bound, each given the other
    samples; its value has the bound's expectation and less variance than the bound of
    K samples. F is differentiated in H as it stands, q with weight K, because each of
    the K samples contributes its derivative. For K = 1 and for separable bounds nothing
    is left to draw: value and gradient are exact.

    Valid for: posteriors that list their outcomes, every bound; unbiased. Evaluates
    the decoder at every outcome, whatever K, and F at K S sets of weights.

    Args:
        max_outcomes: the most joint outcomes of the latents that are summed over.

    Returns:
        An estimator whose surrogate is a scalar whose value is H, less the bound's
        penalty, and whose gradient is the Rao-Blackwellised estimate.

    Raises:
        VaejaxError: a limit below 1 or above 2^24.

    References:
        Titsias and Lazaro-Gredilla 2015, "Local expectation gradients for black box
        variational inference", arXiv:1503.01494.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> enumeration(max_outcomes=2).check(problem).status
        'unbiased'
    """

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        model, bound = problem.model, problem.bound
        dist_params = model.encode(params, example)
        assert model.posterior.outcomes is not None  # `check` refused the others
        z = model.posterior.outcomes.support(dist_params)
        terms = log_terms(model, params, dist_params, z, example)
        # A separable bound is a mean over samples: the other samples do not matter.
        num_samples = 1 if bound.separable else problem.num_samples
        drawn = jax.random.categorical(
            key, stop_gradient(terms.log_qz), shape=(num_samples,)
        )
        values = _exchanged(bound, bound.log_weight(terms), drawn)
        probability = jnp.exp(terms.log_qz)
        closed = stop_gradient(probability)
        less = penalty(problem, params, dist_params, example)
        value = jnp.dot(closed, values) - less
        score = num_samples * jnp.dot(probability, stop_gradient(values - value))
        stats = make_stats(value, expected_terms(terms, closed))
        return with_value(value + score, value), stats

    def check(problem: Problem) -> Verdict:
        return require_outcomes(problem, "enumeration", max_outcomes) or Verdict(
            "unbiased", "every sample's outcomes are summed over, given the others"
        )

    return Estimator(name="enumeration", surrogate=surrogate, check=check)


def _exchanged(
    bound: Bound, log_w: Float[Array, " S"], drawn: Array
) -> Float[Array, " S"]:
    """The mean over k of F with sample k exchanged for s, for every outcome s."""
    samples = log_w[drawn]

    def at(outcome: Scalar) -> Scalar:
        def one(k: Array) -> Scalar:
            return bound.aggregate(samples.at[k].set(outcome))

        return jax.vmap(one)(jnp.arange(drawn.shape[0])).mean()

    return jax.vmap(at)(log_w)
