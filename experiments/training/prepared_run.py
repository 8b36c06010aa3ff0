"""From a training's settings to what it computes with, new or as a run left it."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import run_folder, run_settings
from experiments.harness.config_file import typed_settings
from experiments.harness.json_files import read_json
from experiments.harness.names import (
    choose_protocol,
    exemplars,
    mean_observation,
)
from experiments.training.config import SCHEDULES, Config, check_choices
from experiments.training.labels import (
    check_few_labels,
    labels_in_test,
    training_examples,
)
from experiments.training.split import training_split
from vaejax.bounds import BOUNDS
from vaejax.core import (
    EstState,
    Example,
    Key,
    KLWeight,
    Model,
    Objective,
    Params,
    Regularizer,
    VaejaxError,
    build,
    check_data,
    read,
    settings_of,
)
from vaejax.core.build import Word
from vaejax.core.memory import check_fits
from vaejax.core.ranges import Steps, mismatch
from vaejax.data import DATASETS, load
from vaejax.estimators import ESTIMATORS
from vaejax.kl_weights import KL_WEIGHTS
from vaejax.models import MODELS
from vaejax.objective import make_objective, of_estimator, whole_params
from vaejax.regularizers import REGULARIZERS
from vaejax.training import (
    TrainState,
    checkpoints,
    encoder_first,
    init_state,
    of_seed,
    several_seeds,
    steps_per_epoch,
)


class Data(NamedTuple):
    """Both splits of a data set under one protocol."""

    train: Example  # as stored, uint8
    test: Example  # as the model sees it
    test_labels: np.ndarray | None
    protocol: str
    labelled: np.ndarray | None = None  # which of `train` keep labels, where few do


class Checked(NamedTuple):
    """What a configuration asks for, before any data are read."""

    build_model: Callable[..., Model]  # of what the data tell, as in data_mean
    build_objective: Callable[[Model, int], Objective]  # for so many examples
    protocol: str


def check(config: Config) -> Checked:
    """Refuse what cannot be before any data are read.

    Raises:
        VaejaxError: an unknown name, a number that cannot be, or a combination of
            model, bound and estimator that cannot.
    """
    check_choices(config)
    info = build(DATASETS, config.dataset)
    bound = build(BOUNDS, config.bound, config.bound_settings)
    estimator = build(ESTIMATORS, config.estimator, config.estimator_settings)

    def build_model(**data: Any) -> Model:
        return build(
            MODELS, config.model, config.model_settings, data_shape=info.shape, **data
        )

    def build_objective(model: Model, num_examples: int) -> Objective:
        objective = make_objective(
            model,
            bound,
            estimator,
            num_samples=config.num_samples,
            allow_bias=config.allow_bias,
            regularizers=_regularizers(config.regularizers, num_examples),
            kl_weight=named_kl_weight(config, num_examples),
        )
        if config.num_seeds == 1:
            return objective
        return several_seeds(objective, config.num_seeds)

    shape_only = build_model()
    check_few_labels(config, shape_only)
    build_objective(shape_only, config.batch_size)
    protocol = choose_protocol(config.dataset, config.protocol, shape_only.likelihood)
    return Checked(build_model, build_objective, protocol)


def prepare(config: Config) -> tuple[Model, Objective, Data]:
    """The model, its objective and the data of a configuration, all of them checked."""
    build_model, build_objective, protocol = check(config)
    train = load(config.dataset, protocol=protocol, data_dir=config.data_dir)
    train = training_split(config, train, protocol)
    test = load(config.dataset, "test", protocol=protocol, data_dir=config.data_dir)
    told = {"data_mean": mean_observation(train, protocol)}
    if "exemplars" in settings_of(MODELS[config.model]):
        told["exemplars"] = exemplars(train, protocol)
    model = build_model(**told)
    count = len(test.images) if config.eval_examples is None else config.eval_examples
    if count > len(test.images):
        raise VaejaxError(
            f"eval_examples is {count}, but the test split of {config.dataset} has "
            f"only {len(test.images)}: use fewer, or leave it out for all"
        )
    if config.batch_size > len(train.images):
        raise VaejaxError(
            f"batch_size is {config.batch_size}, but the training split of "
            f"{config.dataset} has only {len(train.images)}: use a smaller one"
        )
    kept = slice(count)
    observations = test.observations(rows=kept)
    given = labels_in_test(model, test)
    y = None if given is None else jnp.asarray(given[kept])
    training = training_examples(config, model, train)
    data = Data(
        training.examples,
        check_data(model, Example(observations, y)),
        None if test.labels is None else test.labels[kept],
        protocol,
        training.labelled,
    )
    objective = build_objective(model, len(data.train.x))
    # The parameters, their gradient and Adam's two moments.
    what = f"the training of {config.model}"
    check_fits(what, lambda: objective.init(jax.random.key(0)), copies=4)
    return model, objective, data


def _regularizers(words: Sequence[str], num_examples: int) -> list[Regularizer]:
    """Build the regularizers named, each with the settings that follow its name."""
    named: list[tuple[str, list[str]]] = []
    for word in words:
        if "=" not in word:
            named.append((word, []))
        elif named:
            named[-1][1].append(word)
        else:
            raise VaejaxError(
                f"the setting {word!r} follows no regularizer: write its name first, "
                "as in --regularizers mmd weight=5"
            )

    known = {"num_examples": num_examples}
    return [build(REGULARIZERS, name, pairs, known) for name, pairs in named]


def named_kl_weight(config: Config, num_examples: int) -> KLWeight | None:
    """The KL weight named, with the settings that follow; `epochs` become steps."""
    if not config.kl_weight:
        return None
    name, *pairs = config.kl_weight

    def in_steps(pair: str) -> str:
        setting, _, text = pair.partition("=")
        if setting != "epochs":
            return pair
        count = read(name, setting, Word(text), int)
        return f"num_steps={count * steps_per_epoch(num_examples, config.batch_size)}"

    return build(KL_WEIGHTS, name, list(map(in_steps, pairs)))


def make_optimizer(
    config: Config, model: Model, num_examples: int
) -> optax.GradientTransformation:
    """Adam, its learning rate scheduled over all steps of the run.

    Where the encoder takes more steps than the model, it does until half of the run is
    over; the learning rate of either falls with the steps of its own.
    """
    steps = config.epochs * steps_per_epoch(num_examples, config.batch_size)
    if expected := mismatch(Steps, steps):
        raise VaejaxError(
            f"{config.epochs:,} epochs are {steps:,} steps: use fewer, or larger "
            f"batches, for {expected}"
        )
    adam = optax.adam(SCHEDULES[config.schedule](config.learning_rate, steps))
    if config.auxiliary_rate is not None:
        ratio = config.auxiliary_rate / config.learning_rate
        of_auxiliary = Params(encoder=False, decoder=False, prior=False, auxiliary=True)
        adam = optax.chain(adam, optax.masked(optax.scale(ratio), of_auxiliary))
    if config.encoder_steps == 1:
        return adam
    return encoder_first(
        adam,
        config.encoder_steps,
        until=steps // 2,
        prior_follows=not model.latent_prior.normalized,  # it is a density ratio
    )


class Keys(NamedTuple):
    """The random streams of a run."""

    train: Key
    evaluate: Key
    watch: Key


def make_keys(config: Config) -> Keys:
    """Split the seed's key."""
    return Keys(*jax.random.split(jax.random.key(config.seed), len(Keys._fields)))


def params_by_seed(config: Config, state: TrainState) -> list[Params]:
    """The parameters of every seed that the run trains, averages among them."""
    params = whole_params(state.params, state.loss_state)
    if config.num_seeds == 1:
        return [params]
    return [of_seed(params, seed) for seed in range(config.num_seeds)]


class Trained(NamedTuple):
    """A run, as it is loaded."""

    config: Config
    model: Model
    objective: Objective
    data: Data
    like: TrainState  # its initial state


def load_run(folder: Path) -> Trained:
    """A run's settings, model, objective, data and initial state.

    Raises:
        VaejaxError: the folder holds no run of this experiment.
    """
    run_folder.heal(folder)
    path = folder / "config.json"
    settings = read_json(path)
    settings.pop(run_settings.X64, None)  # the checkpoint has its own
    if not settings.keys() <= {field.name for field in dataclasses.fields(Config)}:
        raise VaejaxError(
            f"{folder} holds another experiment's results: name the folder of a run "
            "that experiments.train wrote"
        )
    config = Config(**typed_settings(Config, settings, path) | {"out": folder})
    model, objective, data = prepare(config)
    like = init_state(
        objective,
        make_optimizer(config, model, len(data.train.x)),
        make_keys(config).train,
    )
    return Trained(config, model, objective, data, like)


def load_trained(folder: Path) -> tuple[Config, Model, Params, Data]:
    """A run's settings, model, trained parameters (of its first seed) and data.

    Raises:
        VaejaxError: the folder holds no run of this experiment.
    """
    run = load_run(folder)
    return run.config, run.model, load_final(run)[0], run.data


def load_final(run: Trained) -> tuple[Params, EstState]:
    """The trained parameters and the estimator's state, of the first seed."""
    state, _ = checkpoints.restore(run.config.out / "checkpoints", run.like)
    return _first_seed(run.config, state)


def load_snapshots(run: Trained) -> dict[int, tuple[Params, EstState]]:
    """Those of the first seed by step: at the start, and those kept.

    Raises:
        VaejaxError: the run kept none.
    """
    folder = run.config.out / "snapshots"
    kept = checkpoints.steps(folder)
    if not kept:
        raise VaejaxError(
            f"{run.config.out} kept no snapshots of its training: train with "
            "--snapshot-epochs 1, say"
        )
    states = {step: checkpoints.restore(folder, run.like, step)[0] for step in kept}
    return {
        step: _first_seed(run.config, state)
        for step, state in ({0: run.like} | states).items()
    }


def _first_seed(config: Config, state: TrainState) -> tuple[Params, EstState]:
    own = state.loss_state.estimator
    if config.num_seeds > 1:
        own = of_seed(own, 0)
    return of_estimator(params_by_seed(config, state)[0]), own
