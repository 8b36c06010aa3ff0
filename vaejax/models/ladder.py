"""Hierarchies of two or more layers of real latents, with two kinds of inference.

    p(z_L) = N(0, I),   p(z_i | z_{i+1}) = N(loc_i(z_{i+1}), scale_i(z_{i+1})^2),
    p(x | z_1) from decoder(z_1)

`hierarchical_mlp` infers the layers bottom-up, each from the layer below,

    q(z_1 | x) q(z_2 | z_1) ... q(z_L | z_{L-1})

and with two layers is the larger network of Burda, Grosse and Salakhutdinov 2016
(arXiv:1509.00519). `ladder_mlp` is the ladder variational autoencoder (Sonderby et al.
2016, arXiv:1602.02282, without its batch normalisation): a deterministic pass upwards,
d_i = up_i(d_{i-1}) with d_0 = x, whose loc_i and scale_i are combined with the prior's
on the way down, weighted by precision,

    q(z_L | x) = N(loc_L(d_L), scale_L(d_L)^2),
    q(z_i | z_{i+1}, x) = N(loc, scale^2),   1 / scale^2 = 1 / s_q^2 + 1 / s_p^2,
                                             loc = scale^2 (m_q / s_q^2 + m_p / s_p^2)

so that prior and posterior share their top-down networks. The ladder is meant to keep
the upper layers in use, which bottom-up inference tends to leave at the prior;
`layer_kl` measures this.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

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
    PyTree,
    VaejaxError,
    head_of,
)
from vaejax.core.ranges import PerStage, Shape
from vaejax.families import ChainParams, NormalParams, chain, diagonal_normal
from vaejax.models.assembly import event_of, output_start
from vaejax.models.parts import (
    NONE,
    Settings,
    named_likelihood,
    refuse_missing,
    refuse_own_weights,
)
from vaejax.nets import Network, activation_named, mlp


class Stage(NamedTuple):
    """The inputs of a layer's posterior on the ladder, besides the layer above."""

    upward: NormalParams  # from x
    prior: PyTree  # weights of the prior's network


def hierarchical_mlp(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dims: Sequence[int] = (100, 50),
    hidden: Sequence[int] = (200, 100),
    num_hidden: PerStage = 2,
    activation: str = "tanh",
    likelihood: str = "bernoulli",
    likelihood_settings: Settings = NONE,
) -> Model:
    """A hierarchy inferred bottom-up, each layer from the one below.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation in [0, 1]; the decoder's output bias starts there,
            and the encoder sees x less it.
        latent_dims: sizes of z_1, next to the data, to z_L.
        hidden: width of the hidden layers between each of them and what is below it.
        num_hidden: how many of these there are, upwards and downwards.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        likelihood: a name in `LIKELIHOODS`.
        likelihood_settings: of the likelihood, such as `fixed_normal`'s scale.
    """
    _check(latent_dims, hidden)
    pixels = named_likelihood(likelihood, likelihood_settings)
    sizes = [event_of(pixels, data_shape).size, *latent_dims]
    up = [
        mlp(below, [width] * num_hidden, 2 * above, activation)
        for below, above, width in zip(sizes[:-1], latent_dims, hidden, strict=True)
    ]
    center = 0.0 if data_mean is None else np.asarray(data_mean, jnp.result_type(float))

    def encode(params: Params, example: Example) -> ChainParams:
        first = _normal(up[0], params.encoder[0], example.x - center)
        return ChainParams(first, tuple(params.encoder[1:]))

    return _hierarchy(
        "hierarchical_mlp",
        init_encoder=partial(_init, up),
        encode=encode,
        posterior=lambda down: chain(
            diagonal_normal(), [partial(_normal, one) for one in up[1:]], top_down=False
        ),
        pixels=pixels,
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dims=latent_dims,
        hidden=[[width] * num_hidden for width in hidden],
        activation=activation,
    )


def ladder_mlp(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dims: Sequence[int] = (64, 32, 16, 8, 4),
    hidden: Sequence[int] = (512, 256, 128, 64, 32),
    num_hidden: PerStage = 2,
    activation: str = "relu",
    likelihood: str = "bernoulli",
    likelihood_settings: Settings = NONE,
) -> Model:
    """A hierarchy inferred on a ladder: up without noise, down with the prior.

    The arguments are those of `hierarchical_mlp`.
    """
    _check(latent_dims, hidden)
    act = activation_named(activation)
    pixels = named_likelihood(likelihood, likelihood_settings)
    widths = [event_of(pixels, data_shape).size, *hidden]
    up = [
        mlp(below, [width] * (num_hidden - 1), width, activation)
        for below, width in zip(widths[:-1], hidden, strict=True)
    ]
    heads = [
        mlp(width, (), 2 * dim) for width, dim in zip(hidden, latent_dims, strict=True)
    ]
    center = 0.0 if data_mean is None else np.asarray(data_mean, jnp.result_type(float))

    def init_encoder(key: Key) -> dict[str, PyTree]:
        up_key, head_key = jax.random.split(key)
        return {"up": _init(up, up_key), "heads": _init(heads, head_key)}

    def encode(params: Params, example: Example) -> ChainParams:
        d, upward = example.x - center, []
        own = zip(params.encoder["up"], params.encoder["heads"], strict=True)
        for net, head, (weights, head_weights) in zip(up, heads, own, strict=True):
            d = act(net.apply(weights, d))
            upward.append(_normal(head, head_weights, d))
        stages = list(map(Stage, upward[:-1], params.prior))
        return ChainParams(upward[-1], tuple(stages[::-1]))

    return _hierarchy(
        "ladder_mlp",
        init_encoder=init_encoder,
        encode=encode,
        posterior=lambda down: chain(
            diagonal_normal(),
            [partial(_meet, one) for one in down[::-1]],
            top_down=True,
        ),
        pixels=pixels,
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dims=latent_dims,
        hidden=[[width] * num_hidden for width in hidden],
        activation=activation,
    )


def _hierarchy(
    name: str,
    *,
    init_encoder: Callable[[Key], PyTree],
    encode: Callable[[Params, Example], ChainParams],
    posterior: Callable[[list[Network]], Family],
    pixels: Family,
    data_shape: tuple[int, ...],
    data_mean: np.ndarray | None,
    latent_dims: Sequence[int],
    hidden: Sequence[Sequence[int]],
    activation: str,
) -> Model:
    """The model of an encoder and top-down networks, which mirror `hidden`.

    `posterior` takes the prior's networks, from the lowest layer up.
    """
    refuse_own_weights(name, pixels)
    refuse_missing(name, pixels)
    below = latent_dims[:-1]
    down = [
        mlp(above, widths, 2 * dim, activation)
        for dim, above, widths in zip(below, latent_dims[1:], hidden[1:], strict=True)
    ]
    head = head_of(pixels)
    shape = head.outputs_per_coordinate, *data_shape
    decoder = mlp(
        latent_dims[0],
        hidden[0],
        math.prod(shape),
        activation,
        out_bias=output_start(pixels, data_mean),
    )

    def init(key: Key) -> Params:
        encoder_key, decoder_key, prior_key = jax.random.split(key, 3)
        return Params(
            encoder=init_encoder(encoder_key),
            decoder=decoder.init(decoder_key),
            prior=_init(down, prior_key),
        )

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        outputs = decoder.apply(params.decoder, z[0]).reshape(shape)
        return head.from_outputs(outputs)

    def prior(params: Params, y: Array | None) -> ChainParams:
        top = jnp.zeros(latent_dims[-1])
        return ChainParams(NormalParams(top, top), tuple(params.prior[::-1]))

    return Model(
        name=name,
        init=init,
        encode=encode,
        decode=decode,
        prior=prior,
        posterior=posterior(down),
        latent_prior=chain(
            diagonal_normal(),
            [partial(_normal, one) for one in down[::-1]],
            top_down=True,
        ),
        likelihood=pixels,
        data_shape=event_of(pixels, data_shape).shape,
        latent_shape=jax.eval_shape(lambda: tuple(map(jnp.zeros, latent_dims))),
    )


def _check(latent_dims: Sequence[int], hidden: Sequence[int]) -> None:
    if len(latent_dims) < 2 or len(latent_dims) != len(hidden):
        raise VaejaxError(
            f"latent_dims is {tuple(latent_dims)} and hidden {tuple(hidden)}: give "
            "both a number for each layer of latents, two or more, as in "
            "latent_dims=100,50 hidden=200,100"
        )


def _init(networks: list[Network], key: Key) -> list[PyTree]:
    keys = jax.random.split(key, len(networks))
    return [one.init(own) for one, own in zip(networks, keys, strict=True)]


def _normal(network: Network, weights: PyTree, x: Array) -> NormalParams:
    loc, log_scale = network.apply(weights, x).reshape(2, -1)
    return NormalParams(loc, log_scale)


def _meet(network: Network, stage: Stage, above: Float[Array, " Z"]) -> NormalParams:
    """The product of the normals from x and from the prior, weighted by precision."""
    (m_q, log_q), (m_p, log_p) = stage.upward, _normal(network, stage.prior, above)
    # The prior's weight, computed without precisions, which may overflow.
    share = jax.nn.sigmoid(2 * (log_q - log_p))
    return NormalParams(
        loc=m_q + share * (m_p - m_q),
        log_scale=-0.5 * jnp.logaddexp(-2 * log_q, -2 * log_p),
    )
