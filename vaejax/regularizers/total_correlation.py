"""Total correlation by a density-ratio discriminator (FactorVAE).

    TC(q(z)) = KL(q(z) || prod_j q(z_j)) = E_q(z) log q(z) / prod_j q(z_j)

A network T(z) estimates the ratio: it separates draws of q(z) from draws of the product
of the marginals, made by permuting each coordinate over the batch independently.
"""

from collections.abc import Sequence

import jax
from jaxtyping import Array, Float

from vaejax.core import Key, Regularizer
from vaejax.regularizers.discriminator import adversary
from vaejax.regularizers.draws import check_weight


def total_correlation(
    weight: float = 35.0,
    hidden: Sequence[int] = (1000,) * 6,
    activation: str = "leaky_relu",
) -> Regularizer:
    """`weight E_q(z) T(z)`, weight = gamma, one z ~ q(z|x) for every example.

    The encoder's gradient is the path through z. It leaves out E_q dT/dlam at fixed z,
    which is an expected score, and 0, at the optimal T. A permuted draw holds two
    coordinates of one example with probability 1/B, so that in batches of B the
    reference is not quite the product.

    Valid for: reparameterisable posteriors of one layer, batches of at least 2. The
    discriminator has to keep up: see `--auxiliary-rate`.

    Args:
        weight: gamma; 35 is the paper's best on dSprites.
        hidden: widths of the discriminator's hidden layers.
        activation: of these, a name in `vaejax.nets.ACTIVATIONS`.

    References:
        Kim and Mnih 2018, "Disentangling by factorising", arXiv:1802.05983.
    """
    check_weight("total_correlation", "weight", weight)
    return adversary(
        "total_correlation",
        reference=lambda model, params, key, batch, z: permute_coordinates(key, z),
        of_model=lambda ratio: weight * ratio.mean(),
        hidden=hidden,
        activation=activation,
    )


def permute_coordinates(key: Key, z: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Permute every column independently."""
    return jax.random.permutation(key, z, independent=True)
