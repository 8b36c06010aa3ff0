"""Stacked denoising autoencoders start from layers that were trained one by one."""

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core import Example
from vaejax.data import load
from vaejax.models import stacked_denoising_autoencoder
from vaejax.models.corruption import corruption
from vaejax.models.denoising_autoencoder import denoise

KEY = jax.random.key(0)


def build(x, **settings):
    given = {"latent_dim": 24, "hidden": (48,), "learning_rate": 3e-3}
    return stacked_denoising_autoencoder(
        x.shape[1:], data_mean=np.asarray(x.mean(0)), **given | settings
    )


def digits():
    return jnp.asarray(load("digits").images / 255, jnp.float32)


def test_layers_trained_one_by_one_denoise_together():
    x = digits()
    model = build(x)
    assert model.extras.start is not None
    before = model.init(KEY)
    after = model.extras.start(before, Example(x), KEY)
    mask = jax.vmap(corruption("masking", 0.25))
    noisy = mask(jax.random.split(KEY, len(x)), x)

    def error(params):
        told = jax.vmap(lambda x: denoise(model, params, x))(noisy)
        return float(jnp.square(told - x).sum((1, 2, 3)).mean())

    masked = float(jnp.square(noisy - x).sum((1, 2, 3)).mean())
    assert error(after) < 0.6 * masked < error(before)


def test_a_layer_is_trained_on_those_below_and_for_itself():
    x = digits()[:200]
    model = build(x, pretraining_steps=20)
    assert model.extras.start is not None

    def layers(which):
        """The lower and upper kernels after a start from other weights in one layer."""
        params = model.init(KEY)
        encoder, decoder = (
            dict(one["layers"]) for one in (params.encoder, params.decoder)
        )
        for network, layer in ((encoder, which), (decoder, 1 - which)):
            kernel = network[layer]["kernel"]
            network[layer] = network[layer] | {"kernel": kernel[::-1]}
        params = params._replace(encoder={"layers": encoder})
        params = params._replace(decoder={"layers": decoder})
        found = model.extras.start(params, Example(x), KEY)
        up, down = found.encoder["layers"], found.decoder["layers"]
        return [np.asarray(one["kernel"]) for one in (up[0], down[1], up[1], down[0])]

    start = model.extras.start(model.init(KEY), Example(x), KEY)
    lower = start.encoder["layers"][0]["kernel"], start.decoder["layers"][1]["kernel"]
    upper = start.encoder["layers"][1]["kernel"], start.decoder["layers"][0]["kernel"]
    of_other_upper, of_other_lower = layers(1), layers(0)
    for own, other in zip(lower, of_other_upper[:2], strict=True):
        np.testing.assert_array_equal(own, other)
    for own, other in zip(upper, of_other_lower[2:], strict=True):
        assert np.abs(own - other).max() > 1e-3
