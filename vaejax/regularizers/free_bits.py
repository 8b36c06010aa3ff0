"""Free bits: an amount of KL divergence without a cost."""

import math

import jax.numpy as jnp

from vaejax.core import Batch, Key, Model, Params, Regularizer, Scalar
from vaejax.regularizers.closed_form_kl import kl_by_latent, needs
from vaejax.regularizers.draws import check_weight


def free_bits(nats: float = 0.1, groups: int | None = None) -> Regularizer:
    """The shortfall from `nats` of the KL divergence, summed over groups of latents.

        sum_g max(nats - KL_g, 0),    KL_g = mean over the batch of sum_{j in g} KL_j

    Beside a bound that holds the KL divergence once, the loss holds
    `max(nats, KL_g)`: below `nats` the loss does not fall with the KL of a group.

    Valid for: independent latents whose KL divergence is known.

    Args:
        nats: free to every group.
        groups: how many equal groups of consecutive latents; None: one each. With 1
            the latents share their free bits.

    References:
        Kingma et al. 2016, arXiv:1606.04934, appendix C.8.
    """
    check_weight("free_bits", "nats", nats)

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        kl = kl_by_latent(model, params, batch)
        kl = kl.reshape(groups or len(kl), -1).sum(1)
        return jnp.maximum(nats - kl, 0).sum()

    def _needs(model: Model) -> str | None:
        size = math.prod(getattr(model.latent_shape, "shape", ()))
        if groups and size % groups:
            return (
                f"{size} latents do not make {groups} equal groups: use a divisor, or "
                "leave `groups` out"
            )
        return needs(model)

    return Regularizer(
        name="free_bits", penalty=penalty, needs=_needs, beside_elbo=True
    )
