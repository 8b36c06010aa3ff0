"""Likelihoods of the observed coordinates: NaN in x marks what is missing.

    log p(x_o | z) = sum_i observed_i log p(x_i | z)

With it, every bound on log p(x) is one on log p(x_o), the likelihood of the observed
part, and the importance-weighted bound is MIWAE's (Mattei and Frellsen 2019,
arXiv:1812.02633): p(x_o) = int p(x_o | z) p(z) dz, as the missing coordinates of a
product integrate to one. Valid for values that are missing at random: whether one is
missing depends on the observed values alone.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vaejax.core import DistParams, Family, Scalar, Space, VaejaxError, log_probs


def masked(family: Family) -> Family:
    """The likelihood of the coordinates of x that are no NaN.

    Values and gradients are free of NaN: a missing coordinate is replaced by a value
    inside the support before its density is taken, and its term by 0.

    Args:
        family: of independent coordinates.

    Raises:
        VaejaxError: coordinates that are not known to be independent.

    References:
        Mattei and Frellsen 2019, arXiv:1812.02633.

    Examples:
        >>> from vaejax.families import bernoulli
        >>> x = jnp.array([1.0, jnp.nan])
        >>> float(masked(bernoulli()).log_prob(jnp.zeros(2), x))  # log 1/2
        -0.6931471824645996
    """
    require_independent(family)
    if family.space.missing:
        return family

    def log_prob(dist_params: DistParams, x: Float[Array, "*event"]) -> Scalar:
        seen, filled = fill(family.space, x)
        return log_probs(family, dist_params, filled).sum(where=seen.reshape(-1))

    return dataclasses.replace(
        family, log_prob=log_prob, space=family.space._replace(missing=True)
    )


def fill(
    space: Space, x: Float[Array, "*event"]
) -> tuple[Bool[Array, "*event"], Float[Array, "*event"]]:
    """True where x is observed; and x with a value of the space at the other places."""
    inside = {"positive": 1.0, "interval": (space.low + space.high) / 2}
    seen = ~jnp.isnan(x)
    return seen, jnp.where(seen, x, inside.get(space.kind, 0.0))


def require_independent(family: Family) -> None:
    """Refuse a likelihood whose coordinates are not known to be independent given z.

    Raises:
        VaejaxError: naming the likelihood.
    """
    independent = family.factorised and family.space.kind != "one_hot"
    if not (independent or family.space.missing):
        raise VaejaxError(
            f"a {family.name} is not known to have independent coordinates, "
            "and the missing ones cannot be separated: use a likelihood such "
            "as bernoulli or diagonal_normal"
        )
