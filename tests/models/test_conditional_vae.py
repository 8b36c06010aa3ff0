"""The conditional VAE: a sample shows the class asked for; z tells what is left."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import Example, VaejaxError, make_objective
from vaejax.bounds import elbo
from vaejax.estimators import pathwise
from vaejax.evaluation import linear_probe, posterior_means
from vaejax.models import conditional_vae, gaussian_mlp
from vaejax.training import fit

KEY = jax.random.key(0)
CLASSES, HANDS = 4, 2
PIXELS = 4 * CLASSES + 4 * HANDS


def images(count):
    """Bits of which some tell the class, others a hand that is independent of it."""
    rng = np.random.default_rng(0)
    y, hand = rng.integers(0, CLASSES, count), rng.integers(0, HANDS, count)
    told = np.repeat(np.eye(CLASSES)[y], 4, 1), np.repeat(np.eye(HANDS)[hand], 4, 1)
    x = np.abs(np.hstack(told) - (rng.uniform(size=(count, PIXELS)) < 0.05))
    return Example(jnp.asarray(x, jnp.float32), jnp.asarray(y)), hand


def trained(model, data):
    objective = make_objective(model, elbo(), pathwise(), num_samples=1)
    return fit(
        objective, optax.adam(1e-2), data, epochs=40, batch_size=100, key=KEY
    ).params


def test_a_sample_shows_the_class_asked_for_and_z_only_what_the_label_does_not():
    data, hand = images(1000)
    half = slice(None, 500), slice(500, None)

    def told_by_z(model, params, what):
        codes = np.asarray(posterior_means(model, params, data))
        train, test = half
        return linear_probe(codes[train], what[train], codes[test], what[test])

    model = conditional_vae((PIXELS,), latent_dim=2, num_classes=CLASSES, hidden=(20,))
    params = trained(model, data)

    def sample(key, y):
        z_key, x_key = jax.random.split(key)
        z = model.latent_prior.sample(z_key, model.prior(params, y))
        return model.likelihood.sample(x_key, model.decode(params, z, y))

    x = jax.vmap(sample)(jax.random.split(KEY, len(data.y)), data.y)
    shown = np.asarray(x)[:, : 4 * CLASSES].reshape(-1, CLASSES, 4).sum(-1).argmax(1)
    assert (shown == np.asarray(data.y)).mean() > 0.95
    labels = np.asarray(data.y)
    assert told_by_z(model, params, hand) > 0.95
    assert told_by_z(model, params, labels) < 0.4  # 0.25 by chance

    plain = gaussian_mlp((PIXELS,), latent_dim=2, hidden=(20,), activation="relu")
    assert told_by_z(plain, trained(plain, data), labels) > 0.6


def test_an_image_without_a_label_is_refused():
    model = conditional_vae((PIXELS,), latent_dim=2, num_classes=CLASSES, hidden=(20,))
    with pytest.raises(VaejaxError, match="conditional_vae needs a label"):
        model.encode(model.init(KEY), Example(jnp.zeros(PIXELS)))
