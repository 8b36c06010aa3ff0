"""A sigmoid belief network of two stochastic layers: binary latents, binary data.

    p(z2) = prod_i B(z2_i; learned logits),   p(z1|z2) = B(z1; down(z2)),
    p(x|z1) = B(x; decoder(z1)),
    q(z1, z2|x) = B(z1; encoder(x)) B(z2; up(z1))              bottom-up
               or B(z1, z2; encoder(x))                        factorised

The bottom-up posterior is the usual, better choice. The factorised posterior is a
single vector of independent bits, which the estimators that share noise between samples
or relax samples require.

Source: Neal 1992; trained by amortised inference in Mnih and Gregor 2014,
arXiv:1402.0030.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import DistParams, Event, Example, Family, Key, Model, Params
from vaejax.core.ranges import Shape
from vaejax.families import ChainParams, bernoulli, chain
from vaejax.models.assembly import event_of, output_start
from vaejax.nets import mlp


def two_layer_sigmoid_belief_network(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dims: tuple[int, int] = (200, 200),
    hidden: Sequence[int] = (),
    activation: str = "tanh",
    factorised: bool = False,
) -> Model:
    """Two layers of Bernoulli latents; linear between them unless `hidden` is given.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation in [0, 1]; the decoder's output bias starts at its
            logit, and the encoder sees x less it.
        latent_dims: sizes of z1, next to the data, and of z2.
        hidden: widths of the hidden layers of every network upwards; those downwards
            are mirrored.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        factorised: q(z1|x) q(z2|x) in place of q(z1|x) q(z2|z1).
    """
    size, (below, above) = math.prod(data_shape), latent_dims
    center = 0.0 if data_mean is None else np.asarray(data_mean, jnp.result_type(float))
    bits = bernoulli()
    encoder = mlp(size, hidden, sum(latent_dims) if factorised else below, activation)
    up = mlp(below, hidden, above, activation)
    down = mlp(above, hidden[::-1], below, activation)
    decoder = mlp(
        below, hidden[::-1], size, activation, out_bias=output_start(bits, data_mean)
    )
    latent_prior = chain(bits, [down.apply], top_down=True)

    def init(key: Key) -> Params:
        encoder_key, up_key, down_key, decoder_key = jax.random.split(key, 4)
        upwards = () if factorised else up.init(up_key)
        return Params(
            encoder={"first": encoder.init(encoder_key), "conditional": upwards},
            decoder=decoder.init(decoder_key),
            prior={"logits": jnp.zeros(above), "conditional": down.init(down_key)},
        )

    def encode(params: Params, example: Example) -> DistParams:
        logits = encoder.apply(params.encoder["first"], example.x - center)
        if factorised:
            return logits
        return ChainParams(logits, (params.encoder["conditional"],))

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        z1 = z[:below] if factorised else z[0]
        return decoder.apply(params.decoder, z1).reshape(data_shape)

    def prior(params: Params, y: Array | None) -> ChainParams:
        return ChainParams(params.prior["logits"], (params.prior["conditional"],))

    return Model(
        name="two_layer_sigmoid_belief_network",
        init=init,
        encode=encode,
        decode=decode,
        prior=prior,
        posterior=bits if factorised else chain(bits, [up.apply], top_down=False),
        latent_prior=_joined(latent_prior, below) if factorised else latent_prior,
        likelihood=bits,
        data_shape=data_shape,
        latent_shape=(
            event_of(bits, (below + above,))
            if factorised
            else jax.eval_shape(lambda: (jnp.zeros(below), jnp.zeros(above)))
        ),
    )


def _joined(family: Family, below: int) -> Family:
    """The family with both layers in one vector, z1 first."""

    def split(z: Float[Array, " D"]) -> tuple[Array, Array]:
        return z[:below], z[below:]

    return dataclasses.replace(
        family,
        sample=lambda key, params: jnp.concatenate(family.sample(key, params)),
        log_prob=lambda params, z: family.log_prob(params, split(z)),
        mean=lambda params: jnp.concatenate(family.mean(params)),
        outcomes=None,
        conditionals=None,
    )
