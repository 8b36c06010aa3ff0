"""The uniform prior on the sphere, without parameters."""

from jaxtyping import Array

from vaejax.core import Params, Prior
from vaejax.families import VonMisesFisherParams, uniform_on_sphere, von_mises_fisher


def uniform_sphere(latent_dim: int = 10) -> Prior:
    """Unit vectors in every direction alike; Davidson et al. 2018, arXiv:1804.00891.

    Args:
        latent_dim: D, the length of the vectors.
    """

    def apply(params: Params, y: Array | None) -> VonMisesFisherParams:
        return uniform_on_sphere(latent_dim)

    return Prior(
        name="uniform_sphere",
        family=von_mises_fisher(),
        init=lambda key: (),
        apply=apply,
    )
