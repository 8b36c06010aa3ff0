"""The labels that a model receives: all, a few that a seed chooses, or positions."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from experiments.training.config import Config
from vaejax import core
from vaejax.core import Example, Model, VaejaxError
from vaejax.data import ImageData

UNKNOWN = -1
LABELLED_SHARE = 0.1  # of the training examples, after repetition


class Training(NamedTuple):
    """The training split with the labels that the model receives."""

    examples: Example  # as stored
    labelled: Int[np.ndarray, " L"] | None  # positions with labels kept


def training_examples(config: Config, model: Model, data: ImageData) -> Training:
    """Images and labels y; with `num_labels`, only that many labels are known.

    If the prior omits the component of an example, y is the example's position.

    Labelled examples are repeated at the end until they are a tenth of all: otherwise
    few batches would hold any.

    Raises:
        VaejaxError: a data set that lacks the labels.
    """
    check_labels(config, model, data)
    images = jnp.asarray(data.images)
    if model.labels.positions:
        return Training(Example(images, jnp.arange(len(images))), None)
    if model.labels.num_classes is None or data.labels is None:
        return Training(Example(images), None)
    if config.num_labels is None:
        return Training(Example(images, jnp.asarray(data.labels)), None)
    labelled = choose_labelled(data.labels, config.num_labels, config.seed)
    y = np.full(len(data.labels), UNKNOWN, np.int32)
    y[labelled] = data.labels[labelled]
    wanted = LABELLED_SHARE / (1 - LABELLED_SHARE) * len(y)
    again = np.tile(labelled, max(0, round(wanted / len(labelled)) - 1))
    order = np.concatenate([np.arange(len(y)), again])
    return Training(Example(images[order], jnp.asarray(y[order])), labelled)


def choose_labelled(
    labels: Int[np.ndarray, " N"], count: int, seed: int
) -> Int[np.ndarray, " L"]:
    """The positions of `count` labels in rising order, with balanced classes."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    # Every example's turn within its class: the first turns of all classes come first.
    turns = np.empty(len(labels), int)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turns[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turns[order], kind="stable")[:count]])


def labels_in_test(model: Model, data: ImageData) -> np.ndarray | None:
    """The labels that a model receives with unseen examples: none to be inferred."""
    if model.labels.num_classes is None or data.labels is None:
        return None
    if model.labels.unknown:
        return np.full(len(data.labels), UNKNOWN, np.int32)
    return data.labels


def check_labels(config: Config, model: Model, data: ImageData) -> None:
    """Refuse labels that the data lack, and labels without a class in the model."""
    if model.labels.num_classes is None:
        return
    if data.labels is None:
        raise VaejaxError(
            f"{model.name} needs labels of {model.labels.num_classes} classes, and "
            f"{config.dataset} has no labels: use another data set or prior"
        )
    core.check_labels(model, data.labels, data.labels.shape)
    if config.num_labels is not None and config.num_labels > len(data.labels):
        raise VaejaxError(
            f"num_labels is {config.num_labels}, and {config.dataset} has "
            f"{len(data.labels)}: use fewer, or leave it out for all"
        )
