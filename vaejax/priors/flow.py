"""A flow as the prior: a learned normal vector through coupling layers."""

import dataclasses
from collections.abc import Sequence

from vaejax.core import Prior
from vaejax.core.ranges import Depth
from vaejax.families import coupling_flow
from vaejax.priors.learned import learned


def flow(
    latent_dim: int = 50, depth: Depth = 4, hidden: Sequence[int] = (64,)
) -> Prior:
    """Learned affine coupling layers; the prior starts as the standard normal.

    Args:
        latent_dim: number of latents.
        depth: number of layers.
        hidden: widths of each layer's network.

    References:
        Dinh, Sohl-Dickstein and Bengio 2017, "Real NVP", arXiv:1605.08803; as a prior
        over latents: Chen et al. 2017, arXiv:1611.02731.
    """
    prior = learned(coupling_flow(latent_dim, depth, hidden), latent_dim)
    return dataclasses.replace(prior, name="flow")
