"""The importance-weighted bound: `log mean_k w_k`."""

from vaejax.bounds.power_mean import power_mean
from vaejax.core import Bound


def iwae() -> Bound:
    """The importance-weighted bound: `log mean_k w_k`.

    Relation to log p(x): a lower bound, tighter with every K, `-> log p(x)` as K grows.

    References:
        Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(iwae().aggregate(log_w)), 3)  # log 2
        0.693
    """
    return power_mean("iwae", 1.0)
