"""Doubly reparameterised gradients: the score's expectation, reparameterised again.

Dropping the score of q is biased when its weight F'_k depends on z_k. But

    E[F'_k grad log q(z_k; lam)] = E[d(F'_k)/dz_k dz_k/dlam] = E[F''_kk (d log_w_k/dz_k)
    dz_k/dlam],

so the score can be exchanged for a path derivative with weight F''_kk.
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
    LogTerms,
    Params,
    Problem,
    Scalar,
    Stats,
    Verdict,
)
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    penalty,
    require_reparam,
    sample_posterior,
    scale_gradient,
    with_value,
)


def dreg() -> Estimator:
    """The doubly reparameterised gradient, for any twice differentiable bound.

        model parameters:  sum_k F'_k grad log_w_k
        through sample k:  (F'_k - s F''_kk) (d log_w_k / dz_k) dz_k/dlam

    with `s = -d log_w / d log_q`. For IWAE the second weight is the squared normalised
    weight of the paper; for a tempered bound s = beta, without which it is biased.

    Valid for: reparameterisable posteriors, every bound; unbiased. On the ELBO family
    F'' = 0 and it is `stl`. Under IWAE the signal-to-noise ratio of the encoder's
    gradient grows as K^(1/2).

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the doubly reparameterised estimate.

    References:
        Tucker, Lawson, Gu and Maddison 2019, arXiv:1810.04152.

    Examples:
        >>> problem = Problem(model=gaussian_toy(), bound=iwae(), num_samples=8)
        >>> dreg().check(problem).status
        'unbiased'
    """
    return Estimator(name="dreg", surrogate=_surrogate, check=_check)


def _check(problem: Problem) -> Verdict:
    return require_reparam(problem, "dreg") or Verdict(
        "unbiased", "the score is exchanged for its reparameterised expectation"
    )


def _surrogate(
    problem: Problem, params: Params, state: EstState, key: Key, example: Example
) -> tuple[Scalar, Stats]:
    bound = problem.bound
    dist_params, z = sample_posterior(problem, params, key, example)
    stopped = jax.tree.map(stop_gradient, dist_params)
    closed = jax.tree.map(stop_gradient, (params, z))
    closed_terms = log_terms(problem.model, closed[0], stopped, closed[1], example)
    slope, path_scale = path_weights(bound, closed_terms)

    # XLA merges this forward pass with that above. The gradient of log_w_k is open to
    # the model's parameters and, scaled, to the sample.
    terms = log_terms(
        problem.model, params, stopped, scale_gradient(z, path_scale), example
    )
    surrogate = jnp.dot(slope, bound.log_weight(terms)) - penalty(
        problem, params, dist_params, example
    )
    value = bound_value(problem, params, dist_params, example, closed_terms)
    return with_value(surrogate, value), make_stats(value, closed_terms)


def path_weights(
    bound: Bound, terms: LogTerms
) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
    """F'_k, and the scale of the path through sample k: `1 - s F''_kk / F'_k`."""
    slope, ratio = slope_and_bend(bound, bound.log_weight(terms))
    tempering = -jax.grad(lambda t: bound.log_weight(t).sum())(terms).log_qz
    return slope, 1 - tempering * ratio


def slope_and_bend(
    bound: Bound, log_w: Float[Array, " K"]
) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
    """F'_k and `F''_kk / F'_k`."""
    slope = jax.grad(bound.aggregate)(log_w)
    if bound.curvature is not None:
        curvature = bound.curvature(log_w)
    else:
        curvature = jnp.diagonal(jax.hessian(bound.aggregate)(log_w))
    is_zero = slope == 0  # the weight underflowed: there is no gradient to scale
    return slope, jnp.where(is_zero, 0.0, curvature / jnp.where(is_zero, 1.0, slope))
