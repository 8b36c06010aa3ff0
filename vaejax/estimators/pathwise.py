"""Differentiate through the samples: the reparameterisation gradient."""

import jax

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
from vaejax.terms import bound_value, make_stats, require_reparam, weigh_own_samples


def pathwise() -> Estimator:
    """The total derivative of F(log_w) at reparameterised samples.

        grad F(log_w(params; z(params, noise)))

    Valid for: reparameterisable posteriors, every bound; unbiased. Under IWAE the
    signal-to-noise ratio of the encoder's gradient falls as K^(-1/2).

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is its total derivative.

    References:
        Kingma and Welling 2014, arXiv:1312.6114; Rainforth et al. 2018,
        arXiv:1802.04537, for its signal-to-noise ratio.

    Examples:
        >>> problem = Problem(model=gaussian_toy(), bound=iwae(), num_samples=8)
        >>> pathwise().check(problem).status
        'unbiased'
    """
    return Estimator(
        name="pathwise", surrogate=_surrogate, check=_check, own_samples=True
    )


def _check(problem: Problem) -> Verdict:
    return require_reparam(problem, "pathwise") or Verdict(
        "unbiased", "the total derivative through reparameterised samples"
    )


def _surrogate(
    problem: Problem, params: Params, state: EstState, key: Key, example: Example
) -> tuple[Scalar, Stats]:
    dist_params = problem.model.encode(params, example)
    keys = jax.random.split(key, problem.num_samples)
    terms = weigh_own_samples(problem.model, params, dist_params, keys, example)
    value = bound_value(problem, params, dist_params, example, terms)
    return value, make_stats(value, terms)
