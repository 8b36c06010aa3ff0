"""The conditional VAE, and which labels a model of images is given."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.training.config import Config
from experiments.training.labels import UNKNOWN, check_labels, choose_labelled
from experiments.training.run import check, prepare
from vaejax import BOUNDS, ESTIMATORS, Batch, Example, VaejaxError, make_objective
from vaejax.core import LossState
from vaejax.data import ImageData
from vaejax.models import conditional_vae, m2

KEY = jax.random.key(0)
SHAPE = (4, 3, 1)
FEW = Config(
    dataset="digits",
    model="m2",
    model_settings=("latent_dim=2", "hidden=8"),
    estimator="stratified",
    num_labels=30,
)


def test_samples_of_a_conditional_vae_are_of_the_class_asked_for():
    rng = np.random.default_rng(0)
    patterns = np.array([rng.permutation([0.1, 0.9] * 6) for _ in range(3)])
    labels = jnp.asarray(rng.integers(3, size=600))
    x = jnp.asarray(rng.random((600, 12)) < patterns[labels], jnp.float32)
    x = x.reshape(-1, *SHAPE)
    model = conditional_vae(SHAPE, latent_dim=2, num_classes=3, hidden=(16,))
    pathwise = ESTIMATORS["pathwise"]()
    objective = make_objective(model, BOUNDS["elbo"](), pathwise, num_samples=1)
    optimizer = optax.adam(1e-2)
    batch = Batch(Example(x, labels), jnp.arange(600))

    def step(carry, key):
        params, state = carry
        gradient = jax.grad(lambda p: objective.loss(p, LossState(), key, batch)[0])(
            params
        )
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    start = objective.init(KEY)[0]
    carry = start, optimizer.init(start)
    (params, _), _ = jax.lax.scan(step, carry, jax.random.split(KEY, 200))
    asked = jnp.arange(300) % 3

    def right(params):
        def mean(key, y):
            z = model.latent_prior.sample(key, model.prior(params, y))
            return model.likelihood.mean(model.decode(params, z, y)).reshape(-1)

        means = jax.vmap(mean)(jax.random.split(KEY, 300), asked)
        nearest = jnp.square(means[:, None] - patterns[None]).sum(-1).argmin(1)
        return float((nearest == asked).mean())

    assert right(params) > 0.95
    assert right(start) < 0.6  # or the test could not fail
    with pytest.raises(VaejaxError, match="needs a label"):
        model.encode(params, Example(x[0]))


def test_a_seed_chooses_as_many_labels_of_every_class():
    labels = np.random.default_rng(0).integers(10, size=1000)
    chosen = choose_labelled(labels, 100, seed=3)
    assert np.bincount(labels[chosen]).tolist() == [10] * 10
    np.testing.assert_array_equal(chosen, choose_labelled(labels, 100, seed=3))
    assert set(chosen) != set(choose_labelled(labels, 100, seed=4))
    assert len(set(choose_labelled(labels, 1000, seed=0))) == 1000


def test_all_labels_but_the_chosen_are_unknown_and_those_of_the_test_too():
    data = prepare(FEW).data
    assert data.labelled is not None
    count = len(prepare(dataclasses.replace(FEW, num_labels=None)).data.train.x)
    y = np.asarray(data.train.y)
    np.testing.assert_array_equal(np.flatnonzero(y[:count] != UNKNOWN), data.labelled)
    again = y[count:]
    assert (again != UNKNOWN).all()
    assert (y != UNKNOWN).mean() == pytest.approx(0.1, abs=0.01)
    assert (np.asarray(data.test.y) == UNKNOWN).all()


def test_labels_that_no_class_has_are_refused():
    few, all_ = m2((4,), num_classes=3), conditional_vae((4,), num_classes=3)
    for model, label in [(few, -2), (few, 3), (all_, -1), (all_, 3)]:
        data = ImageData(np.zeros((2, 4), np.uint8), np.array([0, label], np.int32))
        with pytest.raises(VaejaxError, match=r"3 classes|takes .* to 2"):
            check_labels(FEW, model, data)
    known = ImageData(np.zeros((2, 4), np.uint8), np.array([2, UNKNOWN], np.int32))
    check_labels(dataclasses.replace(FEW, num_labels=None), few, known)


@pytest.mark.parametrize("model", ["gaussian_mlp", "conditional_vae"])
def test_few_labels_are_refused_where_none_or_all_are_needed(model):
    with pytest.raises(VaejaxError, match="use the model m2"):
        check(dataclasses.replace(FEW, model=model, estimator="pathwise"))
    with pytest.raises(VaejaxError, match="--num-labels is 0"):
        check(dataclasses.replace(FEW, num_labels=0))
    with pytest.raises(VaejaxError, match="use fewer"):
        prepare(dataclasses.replace(FEW, num_labels=10_000))
