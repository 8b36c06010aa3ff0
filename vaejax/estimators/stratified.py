"""Samples of every component of a mixture, weighed by the mixture's weights.

For a bound that is a mean over samples, the expectation over a mixture is a sum,

    E f(log_w(z)) = sum_c weight_c E[f(log_w(z)) under component c],

whose gradient is exact in the weights and goes through samples of the components: no
component has to be chosen at random.
"""

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

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
from vaejax.estimators.score_function import learning_signal
from vaejax.terms import expected_terms, log_terms, make_stats, penalty, require


def stratified() -> Estimator:
    """The total derivative of the bound, with K samples of every component.

        S = sum_c weight_c 1/K sum_k f(log_w(z_ck)),    z_ck ~ component c

    Its value has the bound's expectation and less variance than the bound of K samples,
    at C times as many decodings.

    Valid for: mixtures of reparameterisable components, separable bounds; unbiased.
    The average of all strata inside the logarithm of IWAE would be a tighter bound, of
    another value, and is refused.

    Returns:
        An estimator whose surrogate is a scalar whose value is S, less the bound's
        penalty, and whose gradient is its total derivative.

    References:
        Morningstar et al. 2021, "Automatic differentiation variational inference with
        mixtures", arXiv:2003.01687; for the ELBO also Roeder, Wu and Duvenaud 2017,
        arXiv:1703.09194, section 5.

    Examples:
        >>> model = gaussian_mlp(posterior="mixture")
        >>> problem = Problem(model=model, bound=elbo(), num_samples=2)
        >>> stratified().check(problem).status
        'unbiased'
    """
    return Estimator(name="stratified", surrogate=_surrogate, check=_check)


def _check(problem: Problem) -> Verdict:
    family, bound = problem.model.posterior, problem.bound
    strata = family.strata
    if strata is None:
        lacks, remedy = (
            f"{family.name} latents have no components",
            "use pathwise, or rloo",
        )
        return Verdict(
            "refused", f"stratified samples components, and {lacks}: {remedy}"
        )
    refusal = require(
        strata.component.reparam is not None,
        "stratified differentiates through samples of the components, and "
        f"{strata.component.name} components have no reparameterisation",
        "use score_function or rloo",
    ) or require(
        bound.separable,
        f"stratified weighs the components' samples one by one, and {bound.name} is "
        "not a mean over samples",
        "use vimco or score_function, or the bound 'elbo'",
    )
    return refusal or Verdict(
        "unbiased", "the weights stand in the sum, the components in their samples"
    )


def _surrogate(
    problem: Problem, params: Params, state: EstState, key: Key, example: Example
) -> tuple[Scalar, Stats]:
    model, num_samples = problem.model, problem.num_samples
    strata = model.posterior.strata
    assert strata is not None  # `check` refused the others
    dist_params = model.encode(params, example)
    log_weights, components = strata.split(dist_params)
    keys = jax.random.split(key, (log_weights.size, num_samples))
    of_one = jax.vmap(strata.component.sample, (0, None))
    z = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:]),
        jax.vmap(of_one)(keys, components),
    )
    terms = log_terms(model, params, dist_params, z, example)
    weights = jnp.repeat(jnp.exp(log_weights) / num_samples, num_samples)
    signal = learning_signal(problem.bound, problem.bound.log_weight(terms))
    value = jnp.dot(weights, signal) - penalty(problem, params, dist_params, example)
    return value, make_stats(value, expected_terms(terms, stop_gradient(weights)))
