"""Fine-tuning trains a representation together with the classifier on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core import VaejaxError
from vaejax.evaluation import fine_tuned_accuracy


def test_fine_tuning_learns_a_representation_and_starts_from_the_given_one():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2000, 2)), jnp.float32)
    y = jnp.asarray((x[:, 0] * x[:, 1] > 0).astype(int))  # no line tells them apart
    train, test = (x[:1000], y[:1000]), (x[1000:], y[1000:])
    bent = {"kernel": jnp.asarray(rng.normal(size=(2, 32)), jnp.float32)}

    def accuracy(represent, weights, steps):
        key = jax.random.key(0)
        settings = {"steps": steps, "batch_size": 100, "learning_rate": 0.02}
        return fine_tuned_accuracy(represent, weights, train, test, key, **settings)

    def hidden(weights, x):
        return jax.nn.relu(x @ weights["kernel"])

    linear = accuracy(lambda _, x: x, {}, 500)
    assert linear < 0.7
    assert accuracy(hidden, bent, 500) > 0.93
    nothing = {"kernel": 0 * bent["kernel"]}  # where no gradient leads away from
    assert accuracy(hidden, nothing, 500) < 0.7


def test_a_single_class_is_refused():
    one = jnp.zeros((3, 2)), jnp.zeros(3, int)
    with pytest.raises(VaejaxError, match="use labels of two classes or more"):
        fine_tuned_accuracy(lambda _, x: x, {}, one, one, jax.random.key(0))
