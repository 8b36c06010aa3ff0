"""The examples to train on: the whole training split, a part, or a perturbed one."""

from typing import NamedTuple

import numpy as np

from experiments.training.config import Config
from vaejax.core import VaejaxError
from vaejax.data import LEVELS, DatasetInfo, ImageData, hold_out, load


class Splits(NamedTuple):
    """The splits of a data set, as they are stored."""

    train: ImageData
    validation: ImageData | None
    test: ImageData


def read_splits(
    config: Config, dataset: DatasetInfo, protocol: str, uses_validation: bool
) -> Splits:
    """The examples to train on, to validate on, and to test on once.

    The validation split is the data set's own; or, if it chooses anything, a share of
    the training split, held out by seed; or there is none.

    Raises:
        VaejaxError: data that are missing or damaged; as `training_split`.
    """

    def read(split: str) -> ImageData:
        return load(dataset, split, protocol=protocol, data_dir=config.data_dir)

    train, validation = training_split(config, read("train"), protocol), None
    if "validation" in dataset.splits:
        validation = training_split(config, read("validation"), protocol)
    elif uses_validation:
        train, validation = hold_out(train, config.validation_share, config.seed)
    return Splits(train, validation, read("test"))


def training_split(config: Config, data: ImageData, protocol: str) -> ImageData:
    """The split without the excluded class, and with pixels mutated as requested.

    A mutated pixel is replaced by a level that a seed draws uniformly, once for the
    whole training: the perturbation of a background model (Ren et al. 2019,
    arXiv:1906.02845).

    Raises:
        VaejaxError: a class that the data do not have; counts or real numbers to be
            mutated.
    """
    if config.without_class is not None:
        data = _without(config, data, config.without_class)
    if config.mutation_rate is None:
        return data
    if protocol in ("counts", "reals"):
        raise VaejaxError(
            f"mutation_rate is {config.mutation_rate}, which replaces grey levels, and "
            f"{config.dataset} has {protocol}: leave it out, or use images"
        )
    rng = np.random.default_rng(config.seed)
    levels = 2 if protocol == "static" else LEVELS
    drawn = rng.integers(levels, size=data.images.shape, dtype=np.uint8)
    mutated = rng.random(data.images.shape, np.float32) < config.mutation_rate
    return data._replace(images=np.where(mutated, drawn, data.images))


def _without(config: Config, data: ImageData, label: int) -> ImageData:
    labels = data.labels
    if labels is None or label not in labels:
        there = "no labels" if labels is None else f"{labels.min()} to {labels.max()}"
        raise VaejaxError(
            f"without_class is {label}, and {config.dataset} has {there}: use one of "
            "its classes, or leave it out"
        )
    return data.take(labels != label)
