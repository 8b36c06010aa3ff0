"""The conditional VAE: the label goes into the encoder and into the decoder.

    p(z) = N(0, I),   p(x|z, y) from decoder([z, y]),
    q(z|x, y) = N(loc, diag(scale^2)) from encoder([x, y]),   y one-hot

so that z holds what the label does not determine, such as a digit's handwriting.
Another prior by name may depend on y too, as `conditional_normal` does.

Source: Kingma et al. 2014, arXiv:1406.5298, section 2 (the model M2 with all labels
known); Sohn, Lee and Yan 2015, "Learning structured output representation using deep
conditional generative models".
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import DistParams, Event, Example, Model, Params, head_of
from vaejax.core.ranges import Classes, Shape
from vaejax.families import diagonal_normal
from vaejax.models.assembly import (
    from_networks,
    input_size,
    output_start,
    seen_by_encoder,
)
from vaejax.models.parts import NONE, Settings, named_likelihood, named_prior
from vaejax.nets import mlp
from vaejax.priors.conditional_normal import require_label


def conditional_vae(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 20,
    num_classes: Classes = 10,
    hidden: Sequence[int] = (500, 500),
    activation: str = "relu",
    prior: str = "standard_normal",
    prior_settings: Settings = NONE,
    likelihood: str = "bernoulli",
    likelihood_settings: Settings = NONE,
) -> Model:
    """A VAE of x given a label y, with MLPs.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation; the decoder's output bias starts there, and the
            encoder sees x less it.
        latent_dim: number of latents.
        num_classes: labels y are the integers from 0 to this less 1.
        hidden: widths of the encoder's hidden layers; the decoder's are mirrored.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        prior: a name in `PRIORS`.
        prior_settings: of that prior, but what follows from the model.
        likelihood: a name in `LIKELIHOODS`.
        likelihood_settings: of the likelihood, such as `fixed_normal`'s scale.

    Raises:
        VaejaxError: at its use, if the examples have no integer label y.
    """
    pixels = named_likelihood(likelihood, likelihood_settings)
    size = input_size(pixels, data_shape)
    outputs = head_of(pixels).outputs_per_coordinate * int(np.prod(data_shape))
    latents = diagonal_normal()
    over_z = named_prior(
        prior, prior_settings, latents, latent_dim, data_shape, data_mean
    )
    start = output_start(pixels, data_mean)
    of_joined = from_networks(
        "conditional_vae",
        encoder=mlp(size + num_classes, hidden, 2 * latent_dim, activation),
        decoder=mlp(
            latent_dim + num_classes, hidden[::-1], outputs, activation, out_bias=start
        ),
        prior=over_z,
        posterior=latents,
        likelihood=pixels,
        data_shape=data_shape,
        latent_dim=latent_dim,
        label_size=num_classes,
    )
    see = seen_by_encoder(pixels, data_mean)

    def encode(params: Params, example: Example) -> DistParams:
        joined = with_label(see(example.x), example.y, num_classes)
        return of_joined.encode(params, Example(joined))

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        return of_joined.decode(params, with_label(z, y, num_classes), None)

    return dataclasses.replace(
        of_joined,
        encode=encode,
        decode=decode,
        prior=partial(over_z.apply, encode),
        labels=dataclasses.replace(of_joined.labels, num_classes=num_classes),
    )


def with_label(
    x: Float[Array, "..."], y: Array | None, num_classes: int
) -> Float[Array, " joined"]:
    """The flattened array, with the one-hot label appended.

    Raises:
        VaejaxError: no label, or one that is no single integer.
    """
    y = require_label("the model conditional_vae", y, "gaussian_mlp")
    return jnp.concatenate([x.reshape(-1), jax.nn.one_hot(y, num_classes)])
