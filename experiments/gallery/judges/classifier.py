"""A classifier trained on labelled images, as a judge of others or as a baseline."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from experiments.training.config import Config
from vaejax.core import PyTree
from vaejax.data import PROTOCOLS, load
from vaejax.nets import mlp

LogProbs = Callable[[PyTree, Array], Float[Array, " C"]]  # class log-probabilities
BATCH = 100
CHUNK = 1000  # images that are classified at once
EPOCHS = 10


class Labelled(NamedTuple):
    """Images, as stored or as a model sees them, and the labels of all of them."""

    x: Array
    y: Int[Array, " N"]


class Classifier(NamedTuple):
    """Log-probabilities of the classes, and their parameters."""

    log_probs: LogProbs
    params: PyTree

    def classes(self, x: Float[Array, "N ..."]) -> Int[np.ndarray, " N"]:
        """The likeliest class of every image."""

        @jax.jit
        def likeliest(params: PyTree, x: Array) -> Array:
            of_one = partial(self.log_probs, params)
            return jax.lax.map(lambda one: of_one(one).argmax(), x, batch_size=CHUNK)

        return np.asarray(likeliest(self.params, x))

    def accuracy(self, examples: Labelled) -> float:
        """The share of the images whose likeliest class is their label."""
        return float((self.classes(examples.x) == np.asarray(examples.y)).mean())


def judge(config: Config) -> Classifier:
    """An MLP trained on all the training images of a run, bits drawn as in the run."""
    examples = labelled_images(config, "train")
    network = mlp(examples.x[0].size, (512, 256), int(examples.y.max()) + 1, "relu")
    init_key, key = jax.random.split(jax.random.key(0))

    def log_probs(params: PyTree, x: Array) -> Float[Array, " C"]:
        return jax.nn.log_softmax(network.apply(params, x))

    start = Classifier(log_probs, network.init(init_key))
    return fitted(start, examples, EPOCHS, key)


def fitted(start: Classifier, stored: Labelled, epochs: int, key: Array) -> Classifier:
    """The classifier after epochs of Adam on images whose bits are drawn anew."""
    count = len(stored.x)
    batch = min(BATCH, count)
    steps = count // batch
    adam = optax.adam(optax.cosine_decay_schedule(1e-3, epochs * steps))
    observe = jax.vmap(PROTOCOLS["dynamic"].sample)

    def loss(params: PyTree, x: Array, y: Array) -> Array:
        told = jax.vmap(lambda x, y: start.log_probs(params, x)[y])(x, y)
        return -told.mean()

    def step(
        carried: tuple[PyTree, optax.OptState], own: tuple[Array, Array]
    ) -> tuple[tuple[PyTree, optax.OptState], None]:
        (params, state), (key, chosen) = carried, own
        x = observe(jax.random.split(key, batch), stored.x[chosen])
        updates, state = adam.update(jax.grad(loss)(params, x, stored.y[chosen]), state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def epoch(
        carried: tuple[PyTree, optax.OptState], key: Array
    ) -> tuple[PyTree, optax.OptState]:
        order_key, draw_key = jax.random.split(key)
        order = jax.random.permutation(order_key, count)[: steps * batch]
        keys = jax.random.split(draw_key, steps)
        return jax.lax.scan(step, carried, (keys, order.reshape(steps, batch)))[0]

    carried = start.params, adam.init(start.params)
    for own in jax.random.split(key, epochs):
        carried = epoch(carried, own)
    return start._replace(params=carried[0])


def labelled_images(config: Config, split: str) -> Labelled:
    """All images of a split with all their labels, those of the test split as bits."""
    data = load(config.dataset, split, protocol="dynamic", data_dir=config.data_dir)
    x = data.observations() if split == "test" else jnp.asarray(data.images)
    return Labelled(x, jnp.asarray(data.labels))
