"""Categorical latents, as one-hot vectors, with a learned prior.

    p(z) = prod_i C(z_i; learned logits),   p(x|z) from decoder(z),
    q(z|x) = prod_i C(z_i; encoder(x)_i)

By default twenty latents of ten categories, the network of Jang, Gu and Poole 2017
(arXiv:1611.01144) but linear; with a single latent it is a mixture model.
"""

from collections.abc import Sequence

import numpy as np

from vaejax.core import Model
from vaejax.core.ranges import Shape
from vaejax.families import categorical
from vaejax.models.assembly import from_mlps
from vaejax.models.parts import NONE, Settings, named_likelihood
from vaejax.priors import learned_categorical


def categorical_mlp(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 20,
    num_categories: int = 10,
    hidden: Sequence[int] = (),
    activation: str = "tanh",
    likelihood: str = "bernoulli",
    likelihood_settings: Settings = NONE,
) -> Model:
    """Categorical latents; linear unless `hidden` layers are given.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation; the decoder's output bias starts there, and the
            encoder sees x less it.
        latent_dim: number of categorical latents.
        num_categories: of each.
        hidden: widths of the encoder's hidden layers; the decoder's are mirrored.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        likelihood: a name in `LIKELIHOODS`.
        likelihood_settings: of the likelihood, such as `fixed_normal`'s scale.
    """
    return from_mlps(
        "categorical_mlp",
        posterior=categorical(num_categories),
        prior=learned_categorical(latent_dim, num_categories),
        likelihood=named_likelihood(likelihood, likelihood_settings),
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dim=latent_dim,
        hidden=hidden,
        activation=activation,
    )
