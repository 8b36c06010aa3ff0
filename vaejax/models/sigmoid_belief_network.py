"""A sigmoid belief network of one stochastic layer: binary latents, binary data.

    p(z) = prod_i B(z_i; learned logits),   p(x|z) = B(x; decoder(z)),
    q(z|x) = B(z; encoder(x))

With a dozen latents or fewer every expectation is exact by enumeration, which makes it
the oracle of the estimators for discrete latents.

Source: Neal 1992; trained by amortised inference in Mnih and Gregor 2014,
arXiv:1402.0030.
"""

import math
from collections.abc import Sequence

import numpy as np

from vaejax.core import Model
from vaejax.families import bernoulli
from vaejax.models.from_networks import from_networks, output_start
from vaejax.nets import mlp
from vaejax.priors import learned_bernoulli


def sigmoid_belief_network(
    data_shape: tuple[int, ...] = (28, 28, 1),
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
    size = math.prod(data_shape)
    bits = bernoulli()
    return from_networks(
        "sigmoid_belief_network",
        encoder=mlp(size, hidden, latent_dim, activation),
        decoder=mlp(
            latent_dim,
            hidden[::-1],
            size,
            activation,
            out_bias=output_start(bits, data_mean),
        ),
        prior=learned_bernoulli(latent_dim),
        posterior=bits,
        likelihood=bits,
        data_shape=data_shape,
        latent_dim=latent_dim,
        data_mean=data_mean,
    )
