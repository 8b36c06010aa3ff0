"""The beta-VAE's bound: `mean_k log p(x|z_k) + beta (log p(z_k) - log q(z_k|x))`."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.bounds.power_mean import mean_of_singles
from vaejax.core import Bound, LogTerms, VaejaxError
from vaejax.core.naming import named_by_settings


@named_by_settings
def beta_elbo(beta: float = 4.0) -> Bound:
    """The beta-VAE's bound: `mean_k log p(x|z_k) + beta (log p(z_k) - log q(z_k|x))`.

    Relation to log p(x): a lower bound for beta >= 1, below the ELBO by
    `(beta - 1) KL(q(z|x) || p(z))`; below 1 it bounds nothing.

    References:
        Higgins et al. 2017, "beta-VAE".

    Examples:
        >>> terms = LogTerms(*(jnp.array([x]) for x in (-5.0, -2.0, -1.0)))
        >>> float(beta_elbo(beta=4.0).log_weight(terms)[0])  # -5 + 4 (-2 + 1)
        -9.0
    """
    if not 0 <= beta < math.inf:
        raise VaejaxError(f"beta is {beta}: use a finite KL weight of at least 0")

    def tempered(terms: LogTerms) -> Float[Array, " K"]:
        return terms.log_px_z + beta * (terms.log_pz - terms.log_qz)

    return Bound(
        name="beta_elbo",
        aggregate=jnp.mean,
        log_weight=tempered,
        separable=True,
        curvature=jnp.zeros_like,
        relation="lower" if beta >= 1 else "none",
        expectation=mean_of_singles,
    )
