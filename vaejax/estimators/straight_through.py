"""Straight-through: differentiate a discrete latent as if it were its mean."""

from vaejax.core import DistParams, Estimator, EstState, Event, Family, Key
from vaejax.estimators.relaxed import straight_through_estimator


def straight_through() -> Estimator:
    """Straight-through: the latent forwards, the latent's mean backwards.

        sum_k (dF/db_k) d mean(lam)/dlam  + the rest of the gradient

    It replaces f(1) - f(0) by f'(b), and is exact where f is linear.

    Valid for: posteriors with a relaxation, every bound; biased, for the posterior
    only: the model's parameters see discrete latents.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the straight-through estimate.

    References:
        Bengio, Leonard and Courville 2013, arXiv:1308.3432.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> straight_through().check(problem).status
        'biased'
    """
    return straight_through_estimator(
        "straight_through", _mean, "it takes f(1) - f(0) to be f'(b)"
    )


def _mean(
    family: Family,
    state: EstState,
    dist_params: DistParams,
    u: Event,
    z: Event,
    key: Key,
) -> Event:
    return family.mean(dist_params)
