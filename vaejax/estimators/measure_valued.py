"""Measure-valued gradients: the derivative of a density is a difference of densities.

The derivative of q in one of its parameters integrates to zero, so that it is a
constant times the difference of two densities, its positive and its negative part:

    d/d lam_i E f(z) = c_i (E+ f(z) - E- f(z)),

where E+ and E- draw coordinate i from the parts and leave the others as they are. No
derivative of f is needed, and no score: a coupled pair whose parts are close to each
other has a small difference.
"""

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
from vaejax.terms import (
    bound_value,
    enter,
    exchange,
    log_terms,
    make_stats,
    require,
    stopped_samples,
    with_value,
)


def measure_valued() -> Estimator:
    """The measure-valued gradient, coordinate by coordinate.

        grad F(log_w(params; stop_gradient(z), lam))
            + sum_k sum_i c_ki (F(z_ki = positive) - F(z_ki = negative)) grad lam_i

    The pairs come from the family (`Couplings.measure`): Weibull and double-sided
    Maxwell for the normal's location and scale, the two outcomes for the Bernoulli, one
    event more for the Poisson, a larger or smaller variable for the gamma.

    Valid for: families that name their measures, every bound; unbiased. Two evaluations
    of the decoder for every sample, coordinate and parameter of a coordinate, one
    coordinate after the other.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the measure-valued estimate.

    References:
        Mohamed, Rosca, Figurnov and Mnih 2020, arXiv:1906.10652; Pflug 1989; with
        variational autoencoders: Rosca et al. 2019, "Measure-valued derivatives for
        approximate Bayesian inference".

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> measure_valued().check(problem).status
        'unbiased'
    """
    return Estimator(name="measure_valued", surrogate=_surrogate, check=_check)


def _check(problem: Problem) -> Verdict:
    family = problem.model.posterior
    return require(
        family.couplings.measure is not None,
        "measure_valued draws from the signed parts of the posterior's derivative, "
        f"and {family.name} latents have no such parts",
        "use score_function or rloo",
    ) or Verdict("unbiased", "the signed parts' difference is the derivative of q")


def _surrogate(
    problem: Problem, params: Params, state: EstState, key: Key, example: Example
) -> tuple[Scalar, Stats]:
    model, bound, num_samples = problem.model, problem.bound, problem.num_samples
    measure = model.posterior.couplings.measure
    assert measure is not None  # `check` refused the others
    dist_params, z = stopped_samples(problem, params, key, example)
    terms = log_terms(model, params, dist_params, z, example)
    value = bound_value(problem, params, dist_params, example, terms)

    closed, stopped, log_w = stop_gradient(
        (params, dist_params, bound.log_weight(terms))
    )
    # The samples took the keys 0 to K - 1 of the same split.
    pair_keys = jax.random.split(jax.random.fold_in(key, num_samples), num_samples)
    measures = jax.vmap(measure, (0, None))(pair_keys, stopped)
    # Each of the D coordinates has P parameters: every field becomes [D, P, K].
    by_coordinate = [
        jnp.stack([leaf.reshape(num_samples, -1) for leaf in jax.tree.leaves(field)]).T
        for field in measures
    ]

    def along(coordinate: tuple[Array, ...]) -> Float[Array, " P"]:
        index, constant, positive, negative = coordinate

        def weigh(entry: Float[Array, " K"]) -> Float[Array, " K"]:
            moved = z.reshape(num_samples, -1).at[:, index].set(entry)
            moved_terms = log_terms(
                model, closed, stopped, moved.reshape(z.shape), example
            )
            return bound.log_weight(moved_terms)

        def derivative(c: Array, plus: Array, minus: Array) -> Scalar:
            return jnp.dot(c, exchange(bound, log_w, weigh(plus), weigh(minus)))

        return jax.vmap(derivative, in_axes=1)(constant, positive, negative)

    index = jnp.arange(z[0].size)
    gradient = jax.lax.map(along, (index, *by_coordinate))
    leaves, structure = jax.tree.flatten(dist_params)
    columns = [
        column.reshape(leaf.shape)
        for column, leaf in zip(gradient.T, leaves, strict=True)
    ]
    surrogate = value + enter(jax.tree.unflatten(structure, columns), dist_params)
    return with_value(surrogate, value), make_stats(value, terms)
