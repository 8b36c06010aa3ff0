"""A sigmoid belief network of one stochastic layer: binary latents, binary data.

    p(z) = prod_i B(z_i; learned logits),   p(x|z) = B(x; decoder(z)),
    q(z|x) = B(z; encoder(x))

With a dozen latents or fewer every expectation is exact by enumeration, which makes it
the oracle of the estimators for discrete latents.

Source: Neal 1992; trained by amortised inference in Mnih and Gregor 2014,
arXiv:1402.0030.
"""

from collections.abc import Sequence

import numpy as np

from vaejax.core import Model
from vaejax.core.ranges import Shape
from vaejax.families import bernoulli
from vaejax.models.assembly import from_mlps
from vaejax.priors import learned_bernoulli


def sigmoid_belief_network(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 200,
    hidden: Sequence[int] = (),
    activation: str = "tanh",
) -> Model:
    """Bernoulli latents; linear unless `hidden` layers are given.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation in [0, 1]; the decoder's output bias starts at its
            logit.
        latent_dim: number of binary latents.
        hidden: widths of the encoder's hidden layers; the decoder's are mirrored.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
    """
    return from_mlps(
        "sigmoid_belief_network",
        posterior=bernoulli(),
        prior=learned_bernoulli(latent_dim),
        likelihood=bernoulli(),
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dim=latent_dim,
        hidden=hidden,
        activation=activation,
    )
