"""A training starts where its model wants it to, whoever trains it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_run import tiny

from experiments import train
from experiments.training import report
from experiments.training.run import make_keys
from vaejax import MODELS, Example, fit, make_objective, whole_params
from vaejax.bounds import elbo, reconstruction
from vaejax.data import PROTOCOLS, load
from vaejax.estimators import dreg, pathwise
from vaejax.models import vq_vae
from vaejax.training import init_state, of_seed, several_seeds
from vaejax.training import start as start_module
from vaejax.training.start import observed, started

pytestmark = pytest.mark.slow

SHAPE = (8, 8, 1)
VQ_VAE = {"latent_dim": 3, "num_codes": 8, "channels": (4,), "blocks": 0}


def words(settings):
    return tuple(f"{key}={value}" for key, value in settings.items())


@pytest.mark.parametrize(
    ("name", "settings", "protocol"),
    [
        ("vade", {"latent_dim": 2, "hidden": (8,), "num_components": 3}, "dynamic"),
        ("vq_vae", VQ_VAE, "none"),
        ("vq_vae", VQ_VAE | {"codebook": "ema"}, "none"),
    ],
)
def test_fit_starts_as_experiments_train_does(
    name, settings, protocol, tmp_path, monkeypatch
):
    """One step by a notebook's own lines; its networks stay where they start."""
    monkeypatch.setattr(report, "draw", lambda *_: {})
    config = tiny(
        tmp_path / "run",
        model=name,
        model_settings=words(settings),
        bound="elbo" if name == "vade" else "reconstruction",
        estimator="dreg" if name == "vade" else "pathwise",
        learning_rate=1e-30,
        batch_size=1438,
    )
    theirs = train.run(config).params

    data = load("digits", protocol=protocol)
    model = MODELS[name](
        data_shape=SHAPE, data_mean=data.images.mean(0) / 255, **settings
    )
    bound, estimator = (
        (elbo(), dreg()) if name == "vade" else (reconstruction(), pathwise())
    )
    objective = make_objective(model, bound, estimator, num_samples=1)
    given = {"epochs": 1, "batch_size": 1438, "key": make_keys(config).train}
    state = fit(
        objective,
        optax.sgd(0.0),
        Example(jnp.asarray(data.images)),
        observe=PROTOCOLS[protocol].sample,
        **given,
    )
    ours = whole_params(state.params, state.loss_state)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        ours,
        theirs,
    )
    # The control: initial parameters have another prior.
    untouched = init_state(objective, optax.sgd(0.0), given["key"])
    initial = whole_params(untouched.params, untouched.loss_state)
    away = jax.tree.map(lambda a, b: np.abs(a - b).max(), ours.prior, initial.prior)
    assert max(jax.tree.leaves(away)) > 0.1


@pytest.mark.parametrize("codebook", ["loss", "ema"])
def test_every_seed_starts_from_parameters_of_its_own(codebook):
    model = vq_vae(SHAPE, **VQ_VAE, codebook=codebook)
    objective = make_objective(model, reconstruction(), pathwise(), num_samples=1)
    both = several_seeds(objective, 2)
    x = jax.random.uniform(jax.random.key(1), (30, *SHAPE))
    begun = init_state(both, optax.sgd(0.0), jax.random.key(2))
    state = started(both, begun, Example(x))
    key = jax.random.fold_in(begun.key, start_module.NO_STEP - 2)
    keys = jax.random.split(jax.random.split(key)[1], 2)
    found = []
    for seed, own in enumerate(keys):
        alone = of_seed((begun.params, begun.loss_state), seed)
        expected = objective.start(*alone, Example(x), own)
        seen = of_seed((state.params, state.loss_state), seed)
        jax.tree.map(np.testing.assert_array_equal, seen, expected)
        found.append(np.asarray(model.prior(whole_params(*seen), None)))
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_every_example_is_observed_once_however_the_parts_are_cut(monkeypatch):
    x = np.random.default_rng(0).integers(256, size=(23, *SHAPE)).astype(np.uint8)
    data, key = Example(jnp.asarray(x), jnp.arange(23)), jax.random.key(0)
    sample = PROTOCOLS["dynamic"].sample

    def whole():
        firsts, parts = zip(*observed(sample, key, data), strict=True)
        return firsts, jax.tree.map(lambda *own: np.concatenate(own), *parts)

    firsts, expected = whole()
    assert firsts == (0,)
    monkeypatch.setattr(start_module, "AT_ONCE", 10 * x[0].size)
    firsts, found = whole()
    assert firsts == (0, 10, 20)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    np.testing.assert_array_equal(found.y, np.arange(23))
    assert 0.1 < found.x.mean() < 0.9  # bits, drawn
