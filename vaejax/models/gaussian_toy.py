"""The toy of Rainforth et al.: normal latents seen through unit noise.

    p(z) = N(mu, I),   p(x|z) = N(z, I),   q(z|x) = N(A x + b, 2/3 I)

The model's only parameter is mu, the encoder's are A and b; the scales are fixed. Every
quantity has a closed form:

    p(x) = N(mu, 2 I),   p(z|x) = N((x + mu) / 2, I / 2),   ELBO = log p(x) - KL,
    KL = |A x + b - (x + mu) / 2|^2 + D/2 (4/3 - 1 - log 4/3)

so that the best encoder, A = I / 2 and b = mu / 2 whatever x is, leaves a gap of 0.4565
nats in D = 20 dimensions, and importance weights that vary.

Source: Rainforth et al. 2018, arXiv:1802.04537, section 4.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import DistParams, Event, Example, Extras, Key, Model, Params, Scalar
from vaejax.core.ranges import Shape
from vaejax.families import NormalParams, diagonal_normal, fixed_normal
from vaejax.models.assembly import event_of

POSTERIOR_VARIANCE = 2 / 3


def gaussian_toy(
    data_shape: Shape = (20,), *, data_mean: np.ndarray | None = None
) -> Model:
    """A latent for every coordinate of x; exact expectations need 1 or 2 of them.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation; mu starts there, 0 unless given.
    """
    size, normal = math.prod(data_shape), diagonal_normal()
    start = np.zeros(size) if data_mean is None else np.reshape(data_mean, size)

    def init(key: Key) -> Params:
        return perturbed(optimum(jnp.asarray(start, float)), key)

    def encode(params: Params, example: Example) -> NormalParams:
        weight, bias = params.encoder["weight"], params.encoder["bias"]
        loc = weight @ example.x.reshape(size) + bias
        return NormalParams(loc, jnp.full(size, 0.5 * np.log(POSTERIOR_VARIANCE)))

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        return z.reshape(data_shape)

    model = Model(
        name="gaussian_toy",
        init=init,
        encode=encode,
        decode=decode,
        prior=lambda params, y: NormalParams(params.prior["loc"], jnp.zeros(size)),
        posterior=normal,
        latent_prior=normal,
        likelihood=fixed_normal(1.0),
        data_shape=data_shape,
        latent_shape=event_of(normal, (size,)),
    )
    closed_form = Extras(exact_elbo=functools.partial(exact_elbo, model))
    return dataclasses.replace(model, extras=closed_form)


def optimum(mean: Float[Array, " D"]) -> Params:
    """The parameters with the highest ELBO on observations of this mean."""
    return Params(
        encoder={"weight": jnp.eye(mean.size) / 2, "bias": mean / 2},
        decoder=(),
        prior={"loc": mean},
    )


def perturbed(params: Params, key: Key, scale: float = 0.01) -> Params:
    """The parameters plus independent normal noise of this scale."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noisy = [
        leaf + scale * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, noisy)


def exact_log_px(params: Params, x: Float[Array, "*event"]) -> Scalar:
    """The exact log p(x), in nats."""
    residual = x.reshape(-1) - params.prior["loc"]
    return -0.5 * residual.size * math.log(4 * math.pi) - 0.25 * residual @ residual


def exact_elbo(model: Model, params: Params, x: Float[Array, "*event"]) -> Scalar:
    """The exact ELBO, log p(x) - KL(q(z|x) || p(z|x)), in nats."""
    flat = x.reshape(-1)
    shift = model.encode(params, Example(x)).loc - (flat + params.prior["loc"]) / 2
    ratio = 2 * POSTERIOR_VARIANCE  # q's variance in units of the posterior's
    gap = 0.5 * flat.size * (ratio - 1 - math.log(ratio))
    return exact_log_px(params, x) - shift @ shift - gap
