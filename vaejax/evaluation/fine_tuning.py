"""Fine-tuning: the accuracy of a representation where labels are few."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from vaejax.core import Key, PyTree, VaejaxError, check_finite, check_lengths
from vaejax.core.doors import expect_counts

Represent = Callable[[PyTree, Array], Float[Array, " Z"]]


def fine_tuned_accuracy(
    represent: Represent,
    weights: PyTree,
    train: tuple[Float[Array, "N ..."], Int[Array, " N"]],
    test: tuple[Float[Array, "M ..."], Int[Array, " M"]],
    key: Key,
    *,
    steps: int = 1000,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
) -> float:
    """The test accuracy of a linear classifier trained jointly with a representation.

    Adam minimises the cross-entropy of random batches, with a cosine decay of the
    learning rate to zero; the classifier starts at zero, the representation at its
    weights.

    Args:
        represent: of the weights and one x, a vector.
        weights: where the representation starts.
        train: x and labels, whole numbers from 0.
        test: those that are judged.
        key: consumed; of the batches.
        steps, batch_size, learning_rate: of the training.

    Raises:
        VaejaxError: x and labels of different lengths, x that is not finite, labels
            that are no integers from 0, or a single class to learn from.

    References:
        Hinton and Salakhutdinov 2006; Vincent et al. 2010.
    """
    expect_counts(steps=steps, batch_size=batch_size)
    check_lengths(train=train[0], train_labels=train[1])
    check_lengths(test=test[0], test_labels=test[1])
    check_finite(train=train[0], test=test[0])
    labels = np.concatenate([train[1], test[1]])
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise VaejaxError(
            f"the labels are {labels.dtype} from {labels.min()}: use integers from 0"
        )
    num_classes = int(np.max(train[1])) + 1
    if len(np.unique(train[1])) < 2:
        raise VaejaxError(
            "the labels are of one class only: use labels of two classes or more"
        )
    size = jax.eval_shape(represent, weights, train[0][0]).shape[0]
    head = {"kernel": jnp.zeros((size, num_classes)), "bias": jnp.zeros(num_classes)}
    adam = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    start = weights, head
    tuned = _train(
        represent, adam, batch_size, train, start, jax.random.split(key, steps)
    )
    return float(_accuracy(represent, tuned, test))


def _logits(represent: Represent, params: PyTree, x: Array) -> Float[Array, " classes"]:
    weights, head = params
    return represent(weights, x) @ head["kernel"] + head["bias"]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _train(
    represent: Represent,
    adam: optax.GradientTransformation,
    batch_size: int,
    train: tuple[Array, Array],
    params: PyTree,
    keys: Array,
) -> PyTree:
    def loss(params: PyTree, x: Array, y: Array) -> Array:
        logits = jax.vmap(partial(_logits, represent, params))(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(carry: PyTree, key: Key) -> tuple[PyTree, None]:
        params, moments = carry
        chosen = jax.random.randint(key, (batch_size,), 0, len(train[0]))
        gradient = jax.grad(loss)(params, train[0][chosen], train[1][chosen])
        updates, moments = adam.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), None

    return jax.lax.scan(step, (params, adam.init(params)), keys)[0][0]


@partial(jax.jit, static_argnums=0)
def _accuracy(represent: Represent, params: PyTree, test: tuple[Array, Array]) -> Array:
    logits = jax.lax.map(partial(_logits, represent, params), test[0], batch_size=256)
    return (logits.argmax(1) == test[1]).mean()
