"""Latents of any family, with a learned prior of the posterior's family.

    p(z) = prod_i p(z_i; lam_i), learned,   p(x|z) from decoder(z),
    q(z|x) of the same family, its parameters from encoder(x)

This model tests bounds and estimators on gamma, beta, Dirichlet, Poisson or truncated
normal latents; with one or two latents its expectations are exact.
"""

from collections.abc import Sequence

import numpy as np

from vaejax.core import Model
from vaejax.core.ranges import Shape
from vaejax.models.assembly import from_mlps
from vaejax.models.parts import NONE, Settings, named_likelihood, named_posterior
from vaejax.priors import learned, uniform_sphere


def family_mlp(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    posterior: str = "gamma",
    posterior_settings: Settings = NONE,
    latent_dim: int = 10,
    hidden: Sequence[int] = (200, 200),
    activation: str = "tanh",
    likelihood: str = "bernoulli",
    likelihood_settings: Settings = NONE,
) -> Model:
    """An MLP encoder and mirrored decoder around latents of a family by name.

    Von Mises-Fisher latents have the uniform prior of Davidson et al. 2018,
    arXiv:1804.00891: a learned prior has no natural direction to start at.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation; the decoder's output bias starts there, and the
            encoder sees x less it.
        posterior: a name in `POSTERIORS`, of the latents.
        posterior_settings: of that family.
        latent_dim: number of latents; of a Dirichlet vector, its length.
        hidden: widths of the encoder's hidden layers; the decoder's are mirrored.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        likelihood: a name in `LIKELIHOODS`.
        likelihood_settings: of the likelihood, such as `fixed_normal`'s scale.
    """
    latents = named_posterior(posterior, posterior_settings, latent_dim)
    return from_mlps(
        "family_mlp",
        posterior=latents,
        prior=(
            uniform_sphere(latent_dim)
            if posterior == "von_mises_fisher"
            else learned(latents, latent_dim)
        ),
        likelihood=named_likelihood(likelihood, likelihood_settings),
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dim=latent_dim,
        hidden=hidden,
        activation=activation,
    )
