"""A model with a flax encoder of your own, for notebooks and for the command line.

    python -m experiments.train --dataset digits --batch-size 50 --epochs 100 \
        --model docs/examples/own_nnx_encoder.py:own_vae:latent_dim=16 --out runs/own

The arguments of `own_vae` are the settings that the command line takes, of the types in
its annotations; the data set gives `data_shape`. In a notebook, `own_vae()` is a model
like those of `vaejax.models`.
"""

import math

import jax
from flax import nnx

import vaejax
from vaejax.families import bernoulli
from vaejax.nets import mlp
from vaejax.priors import standard_normal


class Encoder(nnx.Module):
    """Two convolutions with group norm, of one image: there is no batch axis."""

    def __init__(self, channels: int, width: int, outputs: int, rngs: nnx.Rngs):
        self.first = nnx.Conv(channels, width, (3, 3), strides=2, rngs=rngs)
        self.second = nnx.Conv(width, width, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.GroupNorm(width, num_groups=4, rngs=rngs)
        self.out = nnx.Linear(4 * width, outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The location and the log scale of every latent, in one array."""
        hidden = self.second(nnx.gelu(self.first(x)))
        return self.out(nnx.gelu(self.norm(hidden)).reshape(-1))


def own_vae(
    data_shape: tuple[int, ...] = (8, 8, 1), latent_dim: int = 8, width: int = 32
) -> vaejax.Model:
    """Bernoulli pixels, and an `Encoder` of images of 8 x 8 pixels."""

    def encoder(rngs: nnx.Rngs) -> nnx.Module:
        return Encoder(data_shape[-1], width, 2 * latent_dim, rngs)

    return vaejax.from_networks(
        "own_vae",
        encoder=encoder,
        decoder=mlp(latent_dim, (200,), math.prod(data_shape)),
        prior=standard_normal(latent_dim),
        likelihood=bernoulli(),
        data_shape=data_shape,
    )
