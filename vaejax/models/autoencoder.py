"""The autoencoder: an image is encoded to a code, and decoded from the code.

    z = encoder(x),    x' = decoder(z),    loss = -log p(x | x'),

which at normal pixels of scale s is |x - x'|^2 / 2 s^2 and a constant.

Without hidden layers the model is linear: at its optimum it spans the principal
subspace of the data, whatever its two matrices are (Baldi and Hornik 1989), and
squashing units in the code only raise the loss (Bourlard and Kamp 1988,
"Auto-association by multilayer perceptrons and singular value decomposition"): with a
linear decoder no code of Z units beats the best projection on Z dimensions. With hidden
layers on both sides it is a nonlinear principal component analysis, which beats that
projection (Hinton and Salakhutdinov 2006, "Reducing the dimensionality of data with
neural networks", Science 313).
"""

from collections.abc import Sequence

import numpy as np

from vaejax.core import Model
from vaejax.core.ranges import Shape
from vaejax.models.assembly import from_mlps
from vaejax.models.parts import NONE, Settings, named_likelihood, named_posterior
from vaejax.priors import standard_normal


def autoencoder(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 30,
    hidden: Sequence[int] = (),
    activation: str = "relu",
    posterior: str = "point_mass",
    posterior_settings: Settings = NONE,
    likelihood: str = "fixed_normal",
    likelihood_settings: Settings = NONE,
) -> Model:
    """MLP encoder to a code, and the mirrored decoder; linear without `hidden`.

    Valid for: the bound `reconstruction` by the estimator `pathwise`. The standard
    normal prior is for pictures of samples alone: nothing draws the codes to it.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation, [*data_shape]; subtracted from what is encoded, and
            where the decoder's output starts.
        latent_dim: units of the code.
        hidden: widths of the encoder's hidden layers; the decoder's are mirrored.
        activation: of the hidden layers, a name in `vaejax.nets.ACTIVATIONS`.
        posterior: the kind of code, point_mass or k_sparse.
        posterior_settings: of the code, as in units=sigmoid.
        likelihood: a name in `LIKELIHOODS`; a normal one is the squared error.
        likelihood_settings: of the likelihood, such as `fixed_normal`'s scale.
    """
    return from_mlps(
        "autoencoder",
        posterior=named_posterior(posterior, posterior_settings, latent_dim),
        prior=standard_normal(latent_dim),
        likelihood=named_likelihood(likelihood, likelihood_settings),
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dim=latent_dim,
        hidden=hidden,
        activation=activation,
    )
