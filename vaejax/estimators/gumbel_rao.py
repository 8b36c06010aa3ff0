"""Gumbel-Rao: straight-through Gumbel-softmax, averaged over the noise that b leaves.

Much of the noise u does not change b = hard(lam, u), and only b enters F. Averaging the
relaxed derivative over it (Rao-Blackwell) changes no expectation and lowers the
variance at any temperature:

    E[d soft(lam, u, temperature)/dlam | b]  ~  1/M sum_m d soft(lam, u_m, temperature)
    /dlam,   u_m ~ p(u | b)

F is evaluated once, whatever M.
"""

import jax

from vaejax.core import DistParams, Estimator, Event, Family, Key, Scalar, VaejaxError
from vaejax.core.naming import named_by_settings
from vaejax.estimators.relaxed import annealing, straight_through_estimator


@named_by_settings
def gumbel_rao(
    num_conditional: int = 10,
    temperature: float = 0.5,
    annealing_rate: float = 0.0,
    floor: float = 0.01,
) -> Estimator:
    """Straight-through with the relaxed derivative's mean given the latent.

        sum_k (dF/db_k) 1/M sum_m d soft(lam, u_km, temperature)/dlam  + the rest

    with u_km from p(u | b_k), fixed in the derivative by lam. Its expectation is that
    of `st_gumbel_softmax`, with less variance.

    Valid for: posteriors with a relaxation, every bound; biased, for the posterior
    only: the model's parameters see discrete latents.

    Args:
        num_conditional: M, the number of conditional samples.
        temperature: the first; after n updates it is
            `max(floor, temperature exp(-annealing_rate n))`.
        annealing_rate: 0 leaves the temperature as it is.
        floor: where it stops falling.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the straight-through estimate.

    References:
        Paulus, Maddison and Krause 2021, arXiv:2010.04838.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> gumbel_rao(num_conditional=100).check(problem).status
        'biased'
    """
    if num_conditional < 1:
        raise VaejaxError(f"num_conditional is {num_conditional}: use at least 1")

    def stand_in(
        family: Family,
        temperature: Scalar,
        dist_params: DistParams,
        u: Event,
        z: Event,
        key: Key,
    ) -> Event:
        relax = family.couplings.relax
        assert relax is not None

        def one(key: Key) -> Event:
            v = relax.noise(key, dist_params)
            zeta = relax.conditional(dist_params, v, z, temperature)
            return relax.as_mean(dist_params, zeta)

        # soft = mean(score / temperature), and the score depends on lam.
        samples = jax.vmap(one)(jax.random.split(key, num_conditional))
        return jax.tree.map(lambda leaf: leaf.mean(0) / temperature, samples)

    return straight_through_estimator(
        "gumbel_rao",
        stand_in,
        "its path is that of relaxed latents",
        annealing(temperature, annealing_rate, floor),
    )
