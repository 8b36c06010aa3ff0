"""Two stochastic layers, linear and normal throughout: the exact oracle of hierarchies.

    p(z2) = N(m, diag(s^2)),   p(z1|z2) = N(A z2 + a, diag(r^2)),
    p(x|z1) = N(W z1 + b, sigma^2 I),
    q(z1|x) = N(C x + c, diag(u^2)),   q(z2|z1) = N(D z1 + d, diag(v^2))

with every letter but x and z learned. The data are normal too:

    p(x) = N(W (A m + a) + b, W (A diag(s^2) A^T + diag(r^2)) W^T + sigma^2 I),

and with one latent in each layer q contains the posterior, as z2 sees x through z1.

Source: the linear case of the hierarchies of Burda, Grosse and Salakhutdinov 2016,
arXiv:1509.00519, and Bauer and Mnih 2021, arXiv:2101.11046.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import DistParams, Event, Example, Key, Model, Params, PyTree, Scalar
from vaejax.core.ranges import Shape
from vaejax.families import ChainParams, NormalParams, chain, diagonal_normal
from vaejax.families.chain import linear


def two_layer_gaussian(
    data_shape: Shape = (4,),
    *,
    data_mean: np.ndarray | None = None,
    latent_dims: tuple[int, int] = (1, 1),
) -> Model:
    """The linear two-layer model, with a bottom-up posterior and a top-down prior.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation; the decoder's bias starts there.
        latent_dims: sizes of z1 and z2; exact expectations need (1, 1).
    """
    size = math.prod(data_shape)
    below, above = latent_dims
    start = np.zeros(size) if data_mean is None else np.reshape(data_mean, size)

    def init(key: Key) -> Params:
        keys = jax.random.split(key, 4)
        decoder = _affine(keys[2], below, size)
        return Params(
            encoder={
                "first": _affine(keys[0], size, below),
                "conditional": _affine(keys[1], below, above),
            },
            decoder=decoder
            | {"bias": jnp.asarray(start, float), "log_scale": jnp.zeros(())},
            prior={
                "first": {"loc": jnp.zeros(above), "log_scale": jnp.zeros(above)},
                "conditional": _affine(keys[3], above, below),
            },
        )

    def encode(params: Params, example: Example) -> ChainParams:
        first = linear(params.encoder["first"], example.x.reshape(size))
        return ChainParams(first, (params.encoder["conditional"],))

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        loc = params.decoder["weight"] @ z[0] + params.decoder["bias"]
        log_scale = jnp.full(data_shape, params.decoder["log_scale"])
        return NormalParams(loc.reshape(data_shape), log_scale)

    def prior(params: Params, y: Array | None) -> ChainParams:
        first = NormalParams(**params.prior["first"])
        return ChainParams(first, (params.prior["conditional"],))

    normal = diagonal_normal()
    return Model(
        name="two_layer_gaussian",
        init=init,
        encode=encode,
        decode=decode,
        prior=prior,
        posterior=chain(normal, [linear], top_down=False),
        latent_prior=chain(normal, [linear], top_down=True),
        likelihood=normal,
        data_shape=data_shape,
        latent_shape=jax.eval_shape(lambda: (jnp.zeros(below), jnp.zeros(above))),
    )


def exact_log_px(params: Params, x: Float[Array, "*event"]) -> Scalar:
    """The exact log p(x), in nats, which does not depend on the encoder."""
    top, down = NormalParams(**params.prior["first"]), params.prior["conditional"]
    decoder = params.decoder
    between, weight = down["weight"], decoder["weight"]
    mean = weight @ (between @ top.loc + down["bias"]) + decoder["bias"]
    covariance = between @ jnp.diag(jnp.exp(2 * top.log_scale)) @ between.T
    covariance += jnp.diag(jnp.exp(2 * down["log_scale"]))
    covariance = weight @ covariance @ weight.T
    covariance += jnp.exp(2 * decoder["log_scale"]) * jnp.eye(weight.shape[0])
    residual = x.reshape(-1) - mean
    _, logdet = jnp.linalg.slogdet(2 * jnp.pi * covariance)
    return -0.5 * (logdet + residual @ jnp.linalg.solve(covariance, residual))


def _affine(key: Key, n_in: int, n_out: int) -> PyTree:
    weight = jax.random.normal(key, (n_out, n_in)) / jnp.sqrt(n_in)
    return {
        "weight": weight,
        "bias": jnp.zeros(n_out),
        "log_scale": jnp.zeros(n_out),
    }
