"""The variational Renyi bound: `1 / (1 - alpha) log mean_k w_k^(1 - alpha)`."""

import math

from vaejax.bounds.power_mean import power_mean
from vaejax.core import Bound, VaejaxError
from vaejax.core.naming import named_by_settings


@named_by_settings
def renyi(alpha: float = 0.5) -> Bound:
    """The variational Renyi bound: `1 / (1 - alpha) log mean_k w_k^(1 - alpha)`.

    Relation to log p(x): falls with alpha; the ELBO at alpha = 1 (the limit), IWAE at
    0. A lower bound for alpha >= 0. For alpha < 0 it is an upper bound as K -> inf
    only: at finite K its expectation can lie on either side.

    References:
        Li and Turner 2016, arXiv:1602.02311.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(renyi(alpha=2.0).aggregate(log_w)), 3)  # -log mean(1, 1/3)
        0.405
    """
    if not math.isfinite(alpha):
        raise VaejaxError(f"alpha is {alpha}: use a finite number")
    return power_mean("renyi", 1.0 - alpha)
