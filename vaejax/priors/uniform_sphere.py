"""The uniform prior on the sphere, without parameters."""

from jaxtyping import Array

from vaejax.core import Encode, Params, Prior, VaejaxError
from vaejax.families import VonMisesFisherParams, uniform_on_sphere, von_mises_fisher


def uniform_sphere(latent_dim: int = 10) -> Prior:
    """Uniformly distributed unit vectors; Davidson et al. 2018, arXiv:1804.00891.

    Args:
        latent_dim: D, the length of the vectors, 2 or more.
    """
    if latent_dim < 2:
        raise VaejaxError(
            f"latent_dim is {latent_dim}: use vectors of 2 dimensions or more, as 1 "
            "dimension has no sphere"
        )

    def apply(encode: Encode, params: Params, y: Array | None) -> VonMisesFisherParams:
        return uniform_on_sphere(latent_dim)

    return Prior(
        name="uniform_sphere",
        family=von_mises_fisher(),
        init=lambda key: (),
        apply=apply,
    )
