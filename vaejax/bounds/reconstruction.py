"""An autoencoder's objective: `mean_k log p(x|z_k)`, the prior left out."""

import jax.numpy as jnp

from vaejax.bounds.power_mean import mean_of_singles
from vaejax.core import Bound


def reconstruction() -> Bound:
    """An autoencoder's objective: `mean_k log p(x|z_k)`, the prior left out.

    Relation to log p(x): none; with normal pixels of fixed scale s it is a constant
    less the squared error over 2 s^2. The posterior may be a point mass.

    References:
        Hinton and Salakhutdinov 2006, "Reducing the dimensionality of data with neural
        networks", Science 313.

    Examples:
        >>> terms = LogTerms(*(jnp.array([x]) for x in (-5.0, -2.0, -1.0)))
        >>> float(reconstruction().log_weight(terms)[0])
        -5.0
    """
    return Bound(
        name="reconstruction",
        aggregate=jnp.mean,
        log_weight=lambda terms: terms.log_px_z,
        separable=True,
        curvature=jnp.zeros_like,
        expectation=mean_of_singles,
    )
