"""The adversarial autoencoder, which fits the aggregated posterior to the prior.

A discriminator T(z) ~ log q(z) / p(z) separates codes from draws of the prior, and the
encoder minimises the non-saturating loss of Goodfellow et al. 2014,

    E_q(z) softplus(T(z)) = -E_q(z) log sigmoid(-T(z)).

Where q(z) = p(z), T = 0 and the term is log 2 = 0.693. With a point mass for posterior
and the bound `reconstruction`, the term makes an adversarial autoencoder of any model.
"""

from collections.abc import Sequence

import jax

from vaejax.core import Regularizer
from vaejax.regularizers.discriminator import adversary
from vaejax.regularizers.draws import check_weight, prior_draws


def adversarial(
    weight: float = 1.0,
    hidden: Sequence[int] = (1000, 1000),
    activation: str = "relu",
) -> Regularizer:
    """`weight E_q(z) softplus(T(z))`, one z and one u ~ p(z) for every example.

    Valid for: reparameterisable posteriors of one layer, batches of at least 2.

    Args:
        weight: of the term in the loss; the discriminator's own has weight 1.
        hidden: widths of the discriminator's hidden layers.
        activation: of these, a name in `vaejax.nets.ACTIVATIONS`.

    References:
        Makhzani et al. 2016, "Adversarial autoencoders", arXiv:1511.05644.
    """
    check_weight("adversarial", "weight", weight)
    return adversary(
        "adversarial",
        reference=lambda model, params, key, batch, z: prior_draws(
            model, params, key, batch
        ),
        of_model=lambda ratio: weight * jax.nn.softplus(ratio).mean(),
        hidden=hidden,
        activation=activation,
    )
