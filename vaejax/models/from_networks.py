"""How two networks, a prior and two families become a `Model`."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Event,
    Example,
    Family,
    Key,
    Model,
    Params,
    Prior,
    build,
)
from vaejax.families import FAMILIES
from vaejax.nets import Network, mlp


def from_networks(
    name: str,
    *,
    encoder: Network,
    decoder: Network,
    prior: Prior,
    posterior: Family,
    likelihood: Family,
    data_shape: tuple[int, ...],
    latent_dim: int,
    data_mean: np.ndarray | None = None,
) -> Model:
    """A model whose posterior and likelihood are read off two networks' outputs.

    The encoder maps x, [*data_shape], to `posterior.outputs_per_coordinate` numbers for
    each of the latents; the decoder maps z, [latent_dim], to
    `likelihood.outputs_per_coordinate` numbers for each of the data's coordinates.

    With a `data_mean` the encoder sees x - data_mean: its bias could do the same, but
    centred inputs condition its first layer better (LeCun et al. 1998, "Efficient
    BackProp").
    """
    center = 0.0 if data_mean is None else np.asarray(data_mean, np.float32)

    latent, observation = (
        event_of(family, shape)
        for family, shape in ((posterior, (latent_dim,)), (likelihood, data_shape))
    )

    def init(key: Key) -> Params:
        encoder_key, decoder_key, prior_key = jax.random.split(key, 3)
        return Params(
            encoder=encoder.init(encoder_key),
            decoder=decoder.init(decoder_key),
            prior=prior.init(prior_key),
        )

    def encode(params: Params, example: Example) -> DistParams:
        outputs = encoder.apply(params.encoder, example.x - center)
        shape = posterior.outputs_per_coordinate, latent_dim
        return posterior.from_outputs(outputs.reshape(shape))

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        outputs = decoder.apply(params.decoder, z)
        shape = likelihood.outputs_per_coordinate, *data_shape
        return likelihood.from_outputs(outputs.reshape(shape))

    return Model(
        name=name,
        init=init,
        encode=encode,
        decode=decode,
        prior=prior.apply,
        posterior=posterior,
        latent_prior=prior.family,
        likelihood=likelihood,
        data_shape=observation.shape,
        latent_shape=latent,
    )


def event_of(family: Family, coordinates: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """What a network's outputs for so many coordinates describe: an event's shape."""
    outputs = jnp.zeros((family.outputs_per_coordinate, *coordinates))
    return jax.eval_shape(lambda: family.mean(family.from_outputs(outputs)))


def from_mlps(
    name: str,
    *,
    posterior: Family,
    prior: Prior,
    likelihood: Family,
    data_shape: tuple[int, ...],
    data_mean: np.ndarray | None,
    latent_dim: int,
    hidden: Sequence[int],
    activation: str,
) -> Model:
    """`from_networks` of an MLP encoder and a decoder with its widths mirrored.

    Coordinates that are not numbers (one-hot vectors, say) enter networks flattened.
    With a `data_mean` the decoder's output bias starts at its parameters.
    """
    return from_networks(
        name,
        encoder=mlp(
            event_of(likelihood, data_shape).size,
            hidden,
            posterior.outputs_per_coordinate * latent_dim,
            activation,
        ),
        decoder=mlp(
            event_of(posterior, (latent_dim,)).size,
            hidden[::-1],
            likelihood.outputs_per_coordinate * math.prod(data_shape),
            activation,
            out_bias=output_start(likelihood, data_mean),
        ),
        prior=prior,
        posterior=posterior,
        likelihood=likelihood,
        data_shape=data_shape,
        latent_dim=latent_dim,
        data_mean=data_mean,
    )


# Families of a number per coordinate whose densities are finite at all of the data.
LIKELIHOODS = {
    name: FAMILIES[name]
    for name in ("bernoulli", "diagonal_normal", "fixed_normal", "truncated_normal")
}


def named_likelihood(name: str, scale: float | None) -> Family:
    """The likelihood of this name, at this scale if one is given.

    Raises:
        UnknownNameError: no such likelihood, or one whose scale is no setting.
    """
    return build(LIKELIHOODS, name, **({} if scale is None else {"scale": scale}))


def output_start(
    likelihood: Family, data_mean: np.ndarray | Array | None
) -> Float[Array, " outputs"] | None:
    """The decoder's output bias at which the mean of x is the data's, if that is given.

    For Bernoulli pixels it is the logit (Burda et al. 2016, arXiv:1509.00519).
    """
    if data_mean is None:
        return None
    return likelihood.to_outputs(jnp.asarray(data_mean)).reshape(-1)
