"""A convex combination: `beta ELBO + (1 - beta) IWAE_K`."""

from jaxtyping import Array, Float

from vaejax.bounds.elbo import elbo
from vaejax.bounds.iwae import iwae
from vaejax.core import Bound, LogMean, VaejaxError
from vaejax.core.naming import named_by_settings


@named_by_settings
def ciwae(beta: float = 0.5) -> Bound:
    """A convex combination: `beta ELBO + (1 - beta) IWAE_K`.

    Relation to log p(x): a lower bound, between the ELBO and IWAE_K.

    References:
        Rainforth et al. 2018, arXiv:1802.04537.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(ciwae(beta=0.5).aggregate(log_w)), 3)  # 0.549 and 0.693
        0.621
    """
    if not 0 <= beta <= 1:
        raise VaejaxError(f"beta is {beta}: use a weight from 0 to 1")
    loose, tight = elbo(), iwae()

    def curvature(log_w: Float[Array, " K"]) -> Float[Array, " K"]:
        assert tight.curvature is not None
        return (1 - beta) * tight.curvature(log_w)

    return Bound(
        name="ciwae",
        aggregate=lambda log_w: (
            beta * loose.aggregate(log_w) + (1 - beta) * tight.aggregate(log_w)
        ),
        curvature=curvature,
        relation="lower",
        expectation=lambda num_samples: [
            LogMean(beta, 1),
            LogMean(1 - beta, num_samples),
        ],
    )
