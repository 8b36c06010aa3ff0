"""ARM and DisARM: gradients of binary latents from two mirrored samples.

A Bernoulli variable with logit l is b = 1[u < sigmoid(l)]; its mirror image
b~ = 1[1 - u < sigmoid(l)] has the same distribution. With D = f(b) - f(b~), where f is
the bound as a function of one sample, and every coordinate i of the logits,

    ARM      D (1/2 - u_i)
    DisARM   D (b_i - b~_i) max(p_i, 1 - p_i) / 2,   p = sigmoid(l)

both have the expectation d/dl_i E f. DisARM is the expectation of ARM given the pair:
where b_i = b~_i it is exactly zero, and ARM is not.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
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
from vaejax.ops.random import one_pass
from vaejax.terms import (
    bound_value,
    enter,
    exchange,
    log_terms,
    make_stats,
    require,
    with_value,
)

# (key, logits, b, b~) -> the factor of the difference in every coordinate.
Weigh = Callable[
    [Key, Float[Array, "*event"], Float[Array, "*event"], Float[Array, "*event"]],
    Float[Array, "*event"],
]


def disarm() -> Estimator:
    """Antithetic pairs of binary samples, with their uniform noise integrated out.

        grad F(log_w(params; stop_gradient(b), lam))
            + sum_k (F(b_k) - F(b~_k)) (b_k - b~_k) max(p, 1 - p) / 2 grad lam

    where F(b~_k) is the bound with sample k alone exchanged for its mirror image: for
    K = 1 this is the estimator of the papers.

    Valid for: Bernoulli latents, every bound and every K; unbiased. Two evaluations of
    the decoder for every sample, of which one is differentiated.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound of the samples
        b and whose gradient is the DisARM estimate.

    References:
        Dong, Mnih and Tucker 2020, arXiv:2006.10680; the same estimator as U2G of Yin,
        Ho, Yan, Qian and Zhou 2020, arXiv:2006.16290.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> disarm().check(problem).status
        'unbiased'
    """
    return _mirrored("disarm", _integrated)


def arm() -> Estimator:
    """Augment-REINFORCE-merge: antithetic pairs, weighed by their uniform noise.

        grad F(log_w(params; stop_gradient(b), lam))
            + sum_k (F(b_k) - F(b~_k)) (1/2 - u_k) grad lam

    Valid for: as `disarm`, whose variance is never larger.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound of the samples
        b and whose gradient is the ARM estimate.

    References:
        Yin and Zhou 2019, arXiv:1807.11143.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> arm().check(problem).status
        'unbiased'
    """
    return _mirrored("arm", _from_noise)


def _mirrored(name: str, weigh: Weigh) -> Estimator:
    def check(problem: Problem) -> Verdict:
        family = problem.model.posterior
        return require(
            family.couplings.antithetic is not None,
            f"{name} compares a binary sample to its mirror image, and {family.name} "
            "latents have no mirror image",
            "use score_function or rloo",
        ) or Verdict("unbiased", "a sample and its mirror image have one distribution")

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        model, bound, num_samples = problem.model, problem.bound, problem.num_samples
        antithetic = model.posterior.couplings.antithetic
        assert antithetic is not None  # `check` refused the others
        logits = model.encode(params, example)
        keys = jax.random.split(key, num_samples)
        b, mirrored = jax.vmap(antithetic, (0, None))(keys, logits)
        terms = log_terms(model, params, logits, b, example)
        value = bound_value(problem, params, logits, example, terms)

        closed, stopped = stop_gradient((params, logits))
        mirrored_terms = log_terms(model, closed, stopped, mirrored, example)
        log_w, mirrored_log_w = map(bound.log_weight, (terms, mirrored_terms))
        differences = exchange(bound, log_w, log_w, mirrored_log_w)
        # The samples took the keys 0 to K - 1 of the same split.
        keys = jax.random.split(jax.random.fold_in(key, num_samples), num_samples)
        weights = jax.vmap(weigh, (0, None, 0, 0))(keys, stopped, b, mirrored)
        gradient = jnp.tensordot(differences, weights, axes=1)
        return with_value(value + enter(gradient, logits), value), make_stats(
            value, terms
        )

    return Estimator(name=name, surrogate=surrogate, check=check)


def _integrated(
    key: Key,
    logits: Float[Array, "*event"],
    b: Float[Array, "*event"],
    mirrored: Float[Array, "*event"],
) -> Float[Array, "*event"]:
    """E[1/2 - u | b, b~] = (b - b~) max(p, 1 - p) / 2."""
    return (b - mirrored) * jax.nn.sigmoid(jnp.abs(logits)) / 2


def _from_noise(
    key: Key,
    logits: Float[Array, "*event"],
    b: Float[Array, "*event"],
    mirrored: Float[Array, "*event"],
) -> Float[Array, "*event"]:
    """1/2 - u, with the noise drawn once more given the pair: the same joint law.

    With m = min(p, 1 - p), the pair (1, 0) came from u < m, the pair (0, 1) from
    u > 1 - m, and equal outcomes from between.
    """
    least = jax.nn.sigmoid(-jnp.abs(logits))
    lower = jnp.where(b < mirrored, 1 - least, jnp.where(b > mirrored, 0.0, least))
    upper = jnp.where(b < mirrored, 1.0, jnp.where(b > mirrored, least, 1 - least))
    uniform = jax.random.uniform(one_pass(key), logits.shape, logits.dtype)
    return 0.5 - (lower + (upper - lower) * uniform)
