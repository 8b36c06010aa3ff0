"""The variational autoencoder with convolutional networks, for images of any size.

Networks are plain, or with `blocks` residual (He et al. 2016, arXiv:1603.05027),
without batch normalisation (De and Smith 2020, arXiv:2002.10444).
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaejax.core import Model, VaejaxError, head_of
from vaejax.core.ranges import PerStageOrZero, Shape
from vaejax.models.assembly import event_of, from_networks, output_start
from vaejax.models.parts import (
    NONE,
    Settings,
    named_likelihood,
    named_posterior,
    named_prior,
)
from vaejax.nets import Network, conv_decoder, conv_encoder


def gaussian_conv(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 50,
    channels: Sequence[int] = (32, 64),
    blocks: PerStageOrZero = 0,
    activation: str = "relu",
    posterior: str = "diagonal_normal",
    posterior_settings: Settings = NONE,
    prior: str = "standard_normal",
    prior_settings: Settings = NONE,
    likelihood: str = "bernoulli",
    likelihood_settings: Settings = NONE,
    exemplars: np.ndarray | None = None,
) -> Model:
    """Real latents, strided convolutions and their transposes.

    Args:
        data_shape: [H, W, C] of one image; every layer halves H and W, rounding up.
        data_mean: mean image in [0, 1]; each output channel's bias starts at its mean,
            since a convolution has one bias per channel.
        latent_dim: number of latents.
        channels: depth of each convolution of the encoder; the decoder's are mirrored.
        blocks: residual blocks of two 3x3 convolutions after each of the encoder's,
            and as many in the decoder.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        posterior: a name in `POSTERIORS`, of real latents.
        posterior_settings: of that family, but its `dim`.
        prior: a name in `PRIORS`.
        prior_settings: of that prior, but what follows from the model.
        likelihood: a name in `LIKELIHOODS`.
        likelihood_settings: of the likelihood, such as `fixed_normal`'s scale.
        exemplars: training examples, [N, *data_shape], for a prior made of them.
    """
    if len(data_shape) != 3:
        raise VaejaxError(
            f"gaussian_conv convolves images [H, W, C], not data of shape {data_shape}:"
            " use gaussian_mlp"
        )
    if not channels:
        raise VaejaxError("gaussian_conv needs a convolution: use channels=32 or more")
    if blocks < 0:
        raise VaejaxError(f"blocks is {blocks}: use 0 or more residual blocks")
    height, width, depth = data_shape
    latents = named_posterior(posterior, posterior_settings, latent_dim)
    pixels = named_likelihood(likelihood, likelihood_settings)
    num_outputs = head_of(pixels).outputs_per_coordinate
    channel_mean = None if data_mean is None else jnp.mean(data_mean, (0, 1))
    decoder = conv_decoder(
        event_of(latents, (latent_dim,)).size,
        channels[::-1],
        (height, width, num_outputs * depth),
        activation,
        out_bias=output_start(pixels, channel_mean),
        blocks=blocks,
    )

    def outputs_first(params: dict, z: Array) -> Array:
        image = decoder.apply(params, z).reshape(height, width, num_outputs, depth)
        return jnp.moveaxis(image, 2, 0)

    return from_networks(
        "gaussian_conv",
        encoder=conv_encoder(
            (height, width, depth),
            channels,
            head_of(latents).outputs_per_coordinate * latent_dim,
            activation,
            blocks,
        ),
        decoder=Network(init=decoder.init, apply=outputs_first),
        prior=named_prior(
            prior, prior_settings, latents, latent_dim, data_shape, data_mean, exemplars
        ),
        posterior=latents,
        likelihood=pixels,
        data_shape=data_shape,
        latent_dim=latent_dim,
        data_mean=data_mean,
    )
