"""The variational autoencoder with Gaussian latents and multilayer perceptrons.

    p(z) = N(0, I),   p(x|z) from decoder(z),   q(z|x) = N(loc(x), diag(scale(x)^2))

By default the one-layer network of Burda, Grosse and Salakhutdinov 2016
(arXiv:1509.00519): 784-200-200-z50, tanh, mirrored, Bernoulli pixels.
"""

from collections.abc import Sequence

import numpy as np

from vaejax.core import Model
from vaejax.families import diagonal_normal
from vaejax.models.from_networks import from_mlps, named_likelihood
from vaejax.priors import standard_normal


def gaussian_mlp(
    data_shape: tuple[int, ...] = (28, 28, 1),
    data_mean: np.ndarray | None = None,
    latent_dim: int = 50,
    hidden: Sequence[int] = (200, 200),
    activation: str = "tanh",
    likelihood: str = "bernoulli",
    likelihood_scale: float | None = None,
) -> Model:
    """Gaussian latents, MLP encoder and mirrored decoder.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation in [0, 1], [*data_shape]; the decoder's output bias
            starts there (for Bernoulli pixels at its logit), as in the paper, and the
            encoder sees x less it.
        latent_dim: number of latents.
        hidden: widths of the encoder's hidden layers; the decoder's are mirrored.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        likelihood: a name in `LIKELIHOODS`; `diagonal_normal` learns a variance per
            pixel.
        likelihood_scale: standard deviation of `fixed_normal`, and of no other.
    """
    return from_mlps(
        "gaussian_mlp",
        posterior=diagonal_normal(),
        prior=standard_normal(latent_dim),
        likelihood=named_likelihood(likelihood, likelihood_scale),
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dim=latent_dim,
        hidden=hidden,
        activation=activation,
    )
