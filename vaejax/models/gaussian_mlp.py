"""The variational autoencoder with real latents and multilayer perceptrons.

    p(z) = N(0, I),   p(x|z) from decoder(z),   q(z|x) = N(loc(x), diag(scale(x)^2))

unless another posterior, prior or likelihood is named.

By default the one-layer network of Burda, Grosse and Salakhutdinov 2016
(arXiv:1509.00519): 784-200-200-z50, tanh, mirrored, Bernoulli pixels.
"""

from collections.abc import Sequence

import numpy as np

from vaejax.core import Model
from vaejax.core.ranges import Shape
from vaejax.models.assembly import from_mlps
from vaejax.models.parts import (
    NONE,
    Settings,
    named_likelihood,
    named_posterior,
    named_prior,
)


def gaussian_mlp(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 50,
    hidden: Sequence[int] = (200, 200),
    activation: str = "tanh",
    posterior: str = "diagonal_normal",
    posterior_settings: Settings = NONE,
    prior: str = "standard_normal",
    prior_settings: Settings = NONE,
    likelihood: str = "bernoulli",
    likelihood_settings: Settings = NONE,
    exemplars: np.ndarray | None = None,
) -> Model:
    """Real latents, MLP encoder and mirrored decoder.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation in [0, 1], [*data_shape]; the decoder's output bias
            starts there (for Bernoulli pixels at its logit), as in the paper, and the
            encoder sees x less it.
        latent_dim: number of latents.
        hidden: widths of the encoder's hidden layers; the decoder's are mirrored.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        posterior: a name in `POSTERIORS`, of real latents.
        posterior_settings: of that family, but its `dim`.
        prior: a name in `PRIORS`.
        prior_settings: of that prior, but what follows from the model.
        likelihood: a name in `LIKELIHOODS`; `diagonal_normal` learns a variance per
            pixel.
        likelihood_settings: of the likelihood, such as `fixed_normal`'s scale, or
            missing=True where NaN in x marks what is missing.
        exemplars: training examples, [N, *data_shape], for a prior made of them.
    """
    latents = named_posterior(posterior, posterior_settings, latent_dim)
    return from_mlps(
        "gaussian_mlp",
        posterior=latents,
        prior=named_prior(
            prior, prior_settings, latents, latent_dim, data_shape, data_mean, exemplars
        ),
        likelihood=named_likelihood(likelihood, likelihood_settings),
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dim=latent_dim,
        hidden=hidden,
        activation=activation,
    )
