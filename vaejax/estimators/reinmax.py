"""ReinMax: the straight-through estimator, correct to second order.

Straight-through is Euler's method for the difference f(1) - f(0) between outcomes;
Heun's, (f'(1) + f'(0)) / 2, is exact for quadratic f. With J(pi) the derivative of the
mean in lam where the mean is pi, one evaluation of f' at b gives this by the factor

    2 J((b + mean(lam)) / 2) - J(mean(lam)) / 2
"""

import jax

from vaejax.core import DistParams, Estimator, EstState, Event, Family, Key
from vaejax.estimators.relaxed import straight_through_estimator


def reinmax() -> Estimator:
    """Straight-through with the derivative of two means, by Heun's method.

        sum_k (dF/db_k) [2 J((b_k + mean) / 2) - J(mean) / 2]  + the rest of the
        gradient

    Valid for: posteriors with a relaxation, every bound; biased, for the posterior
    only, and by terms of third order in z: the model's parameters see discrete latents.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the ReinMax estimate.

    References:
        Liu, Dong, Liu, Yu and Gao 2023, arXiv:2304.08612, algorithm 2 at temperature 1.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> reinmax().check(problem).status
        'biased'
    """
    return straight_through_estimator(
        "reinmax", _heun, "it takes f(1) - f(0) to be (f'(1) + f'(0)) / 2"
    )


def _heun(
    family: Family,
    state: EstState,
    dist_params: DistParams,
    u: Event,
    z: Event,
    key: Key,
) -> Event:
    relax = family.couplings.relax
    assert relax is not None
    mean = family.mean(dist_params)
    middle = jax.tree.map(lambda hard, m: (hard + m) / 2, z, mean)
    halfway = relax.as_mean(dist_params, middle)
    return jax.tree.map(lambda h, m: 2 * h - m / 2, halfway, mean)
