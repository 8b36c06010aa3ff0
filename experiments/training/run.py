"""The run of a training, built once from its settings and its data."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from experiments.training.checks import check_choices
from experiments.training.choosing import Selection, selection_of
from experiments.training.config import Config
from experiments.training.dataset import dataset_of
from experiments.training.labels import labels_in_test, training_examples
from experiments.training.loss_terms import named_kl_weight, named_regularizers
from experiments.training.optimizer import make_optimizer
from experiments.training.protocol import (
    choose_protocol,
    exemplars,
    mean_observation,
)
from experiments.training.recipe import recipe_of
from experiments.training.split import read_splits
from vaejax.bounds import BOUNDS
from vaejax.core import (
    Example,
    Key,
    Model,
    Objective,
    Params,
    VaejaxError,
    build,
    check_data,
    factory_of,
    record,
    settings_of,
)
from vaejax.core.memory import check_fits
from vaejax.data import DatasetInfo, ImageData
from vaejax.estimators import ESTIMATORS
from vaejax.models import MODELS
from vaejax.objective import make_objective, whole_params
from vaejax.sharding import training_mesh
from vaejax.trained import Recipe
from vaejax.training import TrainState, of_seed, several_seeds, steps_per_epoch


class Keys(NamedTuple):
    """The random streams of a run."""

    train: Key
    evaluate: Key
    watch: Key


class Data(NamedTuple):
    """The splits of a data set under one protocol."""

    train: Example  # as stored
    test: Example  # as the model sees it
    test_labels: np.ndarray | None
    protocol: str
    labelled: np.ndarray | None = None  # indices in `train` with labels, if few
    validation: Example | None = None  # as the model sees it


@record
class Run:
    """A training built from its settings, with all that its computation needs."""

    config: Config
    dataset: DatasetInfo
    recipe: Recipe  # builds the model
    model: Model
    objective: Objective
    one_seed: Objective  # of one of the seeds
    selection: Selection  # the rule by which an epoch is kept
    optimizer: optax.GradientTransformation
    data: Data
    mesh: Mesh  # the devices that share every batch
    keys: Keys

    def __repr__(self) -> str:
        """A line with the model, the data and the folder."""
        config = self.config
        return (
            f"Run({config.model} on {config.dataset}, {config.bound} by "
            f"{config.estimator}, K = {config.num_samples}, in {config.out})"
        )

    def params_by_seed(self, state: TrainState) -> list[Params]:
        """The parameters of every seed that the run trains, including averages."""
        params = whole_params(state.params, state.loss_state)
        if self.config.num_seeds == 1:
            return [params]
        return [of_seed(params, n) for n in range(self.config.num_seeds)]


def check(config: Config) -> str:
    """Check a configuration before registered data are read; return its protocol.

    Raises:
        VaejaxError: an unknown name, a number that cannot be, or a combination of
            model, bound and estimator that cannot.
    """
    recipe, model = _check(config, dataset_of(config))
    make_optimizer(config, model, config.batch_size)
    return recipe.protocol


def _check(config: Config, dataset: DatasetInfo) -> tuple[Recipe, Model]:
    """The model without what the data tell it, such as their mean, and its recipe."""
    check_choices(config)
    recipe = recipe_of(config, dataset)
    model = recipe.build()
    if config.num_labels is not None and not model.labels.unknown:
        raise VaejaxError(
            f"num_labels hides labels, and {config.model} needs all labels: leave "
            "num_labels out, or use the model m2"
        )
    _build_objective(config, model, config.batch_size)
    protocol = choose_protocol(dataset, config.protocol, model.likelihood)
    return dataclasses.replace(recipe, protocol=protocol), model


def _build_objective(config: Config, model: Model, num_examples: int) -> Objective:
    epoch_steps = steps_per_epoch(num_examples, config.batch_size)
    return make_objective(
        model,
        build(BOUNDS, config.bound, config.bound_settings),
        build(ESTIMATORS, config.estimator, config.estimator_settings),
        num_samples=config.num_samples,
        allow_bias=config.allow_bias,
        regularizers=named_regularizers(config.regularizers, num_examples),
        kl_weight=named_kl_weight(config.kl_weight, epoch_steps),
    )


def prepare(config: Config) -> Run:
    """Read the data, and check and build the run of a configuration.

    Raises:
        VaejaxError: as `check`, or settings that the data or the memory exclude.
    """
    dataset = dataset_of(config)
    recipe, _ = _check(config, dataset)
    protocol, selection = recipe.protocol, selection_of(config)
    train, validation, test = read_splits(
        config, dataset, protocol, selection.uses_validation
    )
    recipe = dataclasses.replace(recipe, data_mean=mean_observation(train, protocol))
    if "exemplars" in settings_of(factory_of(MODELS, config.model)):
        recipe = dataclasses.replace(recipe, exemplars=exemplars(train, protocol))
    model = recipe.build()
    count = len(test.images) if config.eval_examples is None else config.eval_examples
    if count > len(test.images):
        raise VaejaxError(
            f"eval_examples is {count}, but the test split of {config.dataset} has "
            f"only {len(test.images)}: use fewer, or leave it out for all"
        )
    kept = slice(count)
    training = training_examples(config, model, train)
    data = Data(
        training.examples,
        _unseen(model, test, kept),
        None if test.labels is None else test.labels[kept],
        protocol,
        training.labelled,
        None if validation is None else _unseen(model, validation),
    )
    one_seed = _build_objective(config, model, len(data.train.x))
    objective = one_seed
    if config.num_seeds > 1:
        objective = several_seeds(one_seed, config.num_seeds)
    # The parameters, their gradient and Adam's two moments.
    what = f"the training of {config.model}"
    check_fits(what, lambda: objective.init(jax.random.key(0)), copies=4)
    mesh = training_mesh(
        config.micro_batch_size or config.batch_size,
        sample_devices=config.sample_devices,
    )
    return Run(
        config=config,
        dataset=dataset,
        recipe=recipe,
        model=model,
        objective=objective,
        one_seed=one_seed,
        selection=selection,
        optimizer=make_optimizer(config, model, len(data.train.x)),
        data=data,
        mesh=mesh,
        keys=make_keys(config),
    )


def _unseen(model: Model, data: ImageData, rows: slice = slice(None)) -> Example:
    """The examples of a split that training does not see, as the model sees them."""
    labels = labels_in_test(model, data)
    y = None if labels is None else jnp.asarray(labels[rows])
    return check_data(model, Example(data.observations(rows=rows), y))


def make_keys(config: Config) -> Keys:
    """Split the seed's key."""
    return Keys(*jax.random.split(jax.random.key(config.seed), len(Keys._fields)))
