"""The toy of REBAR and ARM: independent bits with a quadratic cost, E (b - t)^2.

    q(b) = prod_i B(b_i; learned logits), whatever x is,
    p(x|b) = N(x; b, I / 2),   log p(x|b) = -|b - x|^2 + constant,   p(b) = B(b; 1/2)

The observation x plays the part of t. `beta_elbo(0)` is the cost alone, up to sign and
constant. As t nears 1/2 both outcomes cost the same, and relaxations give a spurious
slope.

Source: Tucker et al. 2017, arXiv:1703.07370 (t = 0.45); Grathwohl et al. 2018,
arXiv:1711.00123 (t = 0.499).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaejax.core import DistParams, Event, Example, Key, Model, Params
from vaejax.core.ranges import Shape
from vaejax.families import bernoulli, fixed_normal
from vaejax.models.assembly import event_of


def bernoulli_toy(
    data_shape: Shape = (1,), *, data_mean: np.ndarray | None = None
) -> Model:
    """A bit for every coordinate of x; the encoder is the bits' logits and ignores x.

    Args:
        data_shape: shape of one observation, of as many coordinates as there are bits.
        data_mean: of no account, as every model takes one.
    """
    size, bits = math.prod(data_shape), bernoulli()

    def init(key: Key) -> Params:
        logits = 0.1 * jax.random.normal(key, (size,))
        return Params(encoder={"logits": logits}, decoder=(), prior=())

    def encode(params: Params, example: Example) -> DistParams:
        return params.encoder["logits"]

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        return z.reshape(data_shape)

    return Model(
        name="bernoulli_toy",
        init=init,
        encode=encode,
        decode=decode,
        prior=lambda params, y: jnp.zeros(size),
        posterior=bits,
        latent_prior=bits,
        likelihood=fixed_normal(math.sqrt(0.5)),
        data_shape=data_shape,
        latent_shape=event_of(bits, (size,)),
    )
