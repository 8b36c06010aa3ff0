"""M groups of K samples: `mean_m log mean_k w_mk`; num_samples is M K."""

import jax
from jaxtyping import Array, Float

from vaejax.bounds.iwae import iwae
from vaejax.core import Bound, LogMean, Model, Scalar, VaejaxError
from vaejax.core.naming import named_by_settings


@named_by_settings
def miwae(num_groups: int = 2) -> Bound:
    """M groups of K samples: `mean_m log mean_k w_mk`; num_samples is M K.

    Relation to log p(x): the expectation of IWAE_K, K = num_samples / M, with M times
    less variance.

    References:
        Rainforth et al. 2018, arXiv:1802.04537.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0, 2.0, 2.0]))
        >>> round(float(miwae(num_groups=2).aggregate(log_w)), 3)  # log 2, twice
        0.693
    """
    if num_groups < 1:
        raise VaejaxError(f"num_groups is {num_groups}: use at least 1")
    inner = iwae()

    def mean_of_groups(log_w: Float[Array, " MK"]) -> Scalar:
        return jax.vmap(inner.aggregate)(log_w.reshape(num_groups, -1)).mean()

    def curvature(log_w: Float[Array, " MK"]) -> Float[Array, " MK"]:
        assert inner.curvature is not None
        groups = jax.vmap(inner.curvature)(log_w.reshape(num_groups, -1))
        return groups.reshape(-1) / num_groups

    def needs(model: Model, num_samples: int) -> str | None:
        if num_samples % num_groups == 0:
            return None
        return (
            f"num_samples is {num_samples}, which {num_groups} groups do not divide: "
            f"use a multiple of {num_groups}"
        )

    return Bound(
        name="miwae",
        aggregate=mean_of_groups,
        curvature=curvature,
        needs=needs,
        relation="lower",
        expectation=lambda num_samples: [LogMean(1.0, num_samples // num_groups)],
    )
