"""The unordered set estimator, from K outcomes drawn without replacement.

The K largest of `log q(s) + Gumbel noise` are a sample without replacement, whose order
is not informative. Weighing the elements by the probability of being drawn first, given
the set,

    E f = E sum_{s in set} w_s f(s),   w_s = q(s) P(set without s | s drawn) / P(set),

is the Rao-Blackwellised estimate of E f from the first draw alone.
"""

import itertools

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
    Verdict,
)
from vaejax.core.naming import named_by_settings
from vaejax.core.ranges import MostOutcomes
from vaejax.ops.random import one_pass
from vaejax.terms import (
    expected_terms,
    log_terms,
    make_stats,
    penalty,
    require,
    require_outcomes,
    with_value,
)

MAX_SAMPLES = 10  # the probabilities of all 2^K subsets are computed


@named_by_settings
def unordered_set(max_outcomes: MostOutcomes = 4096) -> Estimator:
    """The unordered set policy gradient, with its built-in baseline.

        sum_s w_s grad f(log_w_s; lam) + w_s (f_s - b_s) grad log q(s; lam)

    where f is the bound of one sample and `b_s` is an estimate of E f from s, with
    weight q(s), and the other outcomes of the set; `b_s` takes no further evaluation.
    With all outcomes in the set the estimator is exact enumeration.

    Valid for: separable bounds of posteriors that list their outcomes, K from 2 to
    10 and at most their number; unbiased. It evaluates q at every outcome, and the
    decoder at K.

    Args:
        max_outcomes: the most joint outcomes of the latents that are listed.

    Returns:
        An estimator whose surrogate is a scalar whose value is `sum_s w_s f_s`, less
        the bound's penalty, which has the bound's expectation, and whose gradient is
        the unordered set estimate.

    Raises:
        VaejaxError: a limit below 1 or above 2^24.

    References:
        Kool, van Hoof and Welling 2020, arXiv:2002.06043.

    Examples:
        >>> model = bernoulli_toy(data_shape=(3,))  # 8 outcomes
        >>> problem = Problem(model=model, bound=elbo(), num_samples=4)
        >>> unordered_set().check(problem).status
        'unbiased'
    """

    def check(problem: Problem) -> Verdict:
        model, bound, num_samples = problem.model, problem.bound, problem.num_samples
        refusal = (
            require_outcomes(problem, "unordered_set", max_outcomes)
            or require(
                bound.separable,
                f"unordered_set weighs the terms of single samples, and {bound.name} "
                "is not a mean over samples",
                "use enumeration, or score_function",
            )
            or require(
                num_samples >= 2,
                "the baseline of unordered_set is made of the other outcomes, and with "
                "K = 1 there are none",
                "use num_samples >= 2, or enumeration",
            )
            or require(
                num_samples <= MAX_SAMPLES,
                f"unordered_set needs the probabilities of all 2^{num_samples} subsets",
                f"use num_samples of at most {MAX_SAMPLES}, or rloo",
            )
        )
        if refusal:
            return refusal
        assert model.posterior.outcomes is not None  # by `require_outcomes`
        count = model.posterior.outcomes.count(model.latent_shape)
        return require(
            num_samples <= count,
            f"unordered_set draws K = {num_samples} different outcomes, and there are "
            f"only {count}",
            "use a smaller num_samples, or enumeration",
        ) or Verdict("unbiased", "the first draw's estimate, given the unordered set")

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        model, bound, num_samples = problem.model, problem.bound, problem.num_samples
        dist_params = model.encode(params, example)
        assert model.posterior.outcomes is not None  # `check` refused the others
        z = model.posterior.outcomes.support(dist_params)
        log_q = jax.vmap(model.posterior.log_prob, (None, 0))(
            stop_gradient(dist_params), z
        )
        noise = jax.random.gumbel(one_pass(key), log_q.shape, log_q.dtype)
        _, chosen = jax.lax.top_k(log_q + noise, num_samples)
        others = log_q.at[chosen].set(-jnp.inf)
        first, both = ratios(log_q[chosen], logsumexp(others))

        z = jax.tree.map(lambda leaf: leaf[chosen], z)
        terms = log_terms(model, params, dist_params, z, example)
        log_w = bound.log_weight(terms)
        f = jax.vmap(lambda one: bound.aggregate(one[None]))(log_w)
        less = penalty(problem, params, dist_params, example)
        value = jnp.dot(first, f) - less
        advantage = first * (f - both @ f)
        score = jnp.dot(stop_gradient(advantage), terms.log_qz)
        stats = make_stats(value, expected_terms(terms, first))
        return with_value(value + score, value), stats

    return Estimator(name="unordered_set", surrogate=surrogate, check=check)


def ratios(
    log_q: Float[Array, " K"], log_rest: Scalar
) -> tuple[Float[Array, " K"], Float[Array, "K K"]]:
    """The weights w_s, and the weights of the set's outcomes in each baseline b_s.

    With R(A), the probability of drawing the subset A next, after the others of the set
    and before the rest of the outcomes,

        R({}) = 1,   R(A) = sum_{s in A} q(s) / (rest + q(A)) R(A without s),

    w_s = q(s) R(set - s) / R(set). In the baseline of s, the weight of s is q(s), and
    the weight of another t is q(t) R(set - s - t) / R(set - s). Each term is positive:
    nothing cancels.

    Args:
        log_q: log-probabilities of the set's K outcomes.
        log_rest: log-probability of all other outcomes, -inf where there are none.
    """
    size = log_q.shape[0]
    bits = 1 << np.arange(size)
    log_r = jnp.zeros(2**size)
    for count in range(1, size + 1):
        members = np.array(list(itertools.combinations(range(size), count)))
        subsets = bits[members].sum(1)
        remaining = jnp.logaddexp(logsumexp(log_q[members], axis=1), log_rest)
        last = log_q[members] + log_r[subsets[:, None] ^ bits[members]]
        log_r = log_r.at[subsets].set(logsumexp(last, axis=1) - remaining)
    full = 2**size - 1
    without = full ^ bits
    first = jnp.exp(log_q + log_r[without] - log_r[full])
    same = np.eye(size, dtype=bool)
    without_both = np.where(same, 0, full ^ (bits[:, None] | bits))
    both = jnp.exp(log_q[None] + log_r[without_both] - log_r[without][:, None])
    return first, jnp.where(same, jnp.exp(log_q)[None], both)
