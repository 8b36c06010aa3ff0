"""IWAE_{M K} for the model, MIWAE(M, K) for the inference network."""

from vaejax.bounds.iwae import iwae
from vaejax.bounds.miwae import miwae
from vaejax.bounds.train_apart import train_apart
from vaejax.core import Bound
from vaejax.core.naming import named_by_settings


@named_by_settings
def piwae(num_groups: int = 2) -> Bound:
    """IWAE_{M K} for the model, MIWAE(M, K) for the inference network.

    Its value is IWAE_{M K}; the encoder climbs the bound of smaller K, whose gradient
    has the greater signal-to-noise ratio.

    Relation to log p(x): that of IWAE with all of the num_samples.

    References:
        Rainforth et al. 2018, arXiv:1802.04537.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0, 2.0, 2.0]))
        >>> round(float(piwae(num_groups=2).aggregate(log_w)), 3)  # log 2, of all four
        0.693
    """
    return train_apart("piwae", iwae(), miwae(num_groups))
