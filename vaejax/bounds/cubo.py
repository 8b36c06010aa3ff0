"""The chi upper bound, to be minimised: `1/n log mean_k w_k^n` with n >= 1."""

import math

from vaejax.bounds.power_mean import power_mean
from vaejax.core import Bound, VaejaxError
from vaejax.core.naming import named_by_settings


@named_by_settings
def cubo(order: float = 2.0) -> Bound:
    """The chi upper bound, to be minimised: `1/n log mean_k w_k^n` with n >= 1.

    Relation to log p(x): `1/n log E w^n >= log p(x)`, the limit in K. At finite K the
    logarithm biases it downwards: it is at least IWAE_K, yet can lie below log p(x).
    Of order 1 it is IWAE_K, a lower bound.
    Minimising the bound fits q to a model, but would also lower log p(x), so train the
    model by another bound: `train_apart("chi_vae", iwae(), cubo())`.

    References:
        Dieng et al. 2017, arXiv:1611.00328.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(cubo(order=2.0).aggregate(log_w)), 3)  # log(5) / 2
        0.805
    """
    if not 1 <= order < math.inf:
        raise VaejaxError(f"the order of cubo is {order}: use a number of at least 1")
    return power_mean("cubo", order, minimised=True)
