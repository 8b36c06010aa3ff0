"""The run of a training, checked and built once from its settings."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from experiments.harness.extras import import_extra
from experiments.harness.names import (
    choose_protocol,
    exemplars,
    mean_observation,
)
from experiments.training.config import Config
from experiments.training.labels import labels_in_test, training_examples
from experiments.training.split import training_split
from vaejax.bounds import BOUNDS
from vaejax.core import (
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
    record,
    settings_of,
    unknown,
)
from vaejax.core.build import Word
from vaejax.core.memory import check_fits
from vaejax.core.ranges import Steps, mismatch, shown
from vaejax.data import DATASETS, load
from vaejax.estimators import ESTIMATORS
from vaejax.kl_weights import KL_WEIGHTS
from vaejax.models import MODELS
from vaejax.objective import make_objective, whole_params
from vaejax.regularizers import REGULARIZERS
from vaejax.sharding import training_mesh
from vaejax.training import (
    TrainState,
    checkpoints,
    encoder_first,
    of_seed,
    several_seeds,
    steps_per_epoch,
)

SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "cosine": optax.cosine_decay_schedule,
    "constant": lambda learning_rate, steps: optax.constant_schedule(learning_rate),
}


class Keys(NamedTuple):
    """The random streams of a run."""

    train: Key
    evaluate: Key
    watch: Key


class Data(NamedTuple):
    """Both splits of a data set under one protocol."""

    train: Example  # as stored, uint8
    test: Example  # as the model sees it
    test_labels: np.ndarray | None
    protocol: str
    labelled: np.ndarray | None = None  # indices in `train` with labels, if few


@record
class Run:
    """A training built from its settings, with all that its computation needs."""

    config: Config
    model: Model
    objective: Objective
    optimizer: optax.GradientTransformation
    data: Data
    mesh: Mesh  # the devices that share every batch
    keys: Keys

    def params_by_seed(self, state: TrainState) -> list[Params]:
        """The parameters of every seed that the run trains, including averages."""
        params = whole_params(state.params, state.loss_state)
        if self.config.num_seeds == 1:
            return [params]
        return [of_seed(params, n) for n in range(self.config.num_seeds)]


class Checked(NamedTuple):
    """The parts of a configuration that are checked before any data are read."""

    build_model: Callable[..., Model]  # from data settings such as data_mean
    build_objective: Callable[[Model, int], Objective]  # for a number of examples
    protocol: str


def check(config: Config) -> Checked:
    """Check a configuration before any data are read.

    Raises:
        VaejaxError: an unknown name, a number that cannot be, or a combination of
            model, bound and estimator that cannot.
    """
    _check_choices(config)
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
    if config.num_labels is not None and not shape_only.labels.unknown:
        raise VaejaxError(
            f"num_labels hides labels, and {config.model} needs all labels: leave "
            "num_labels out, or use the model m2"
        )
    build_objective(shape_only, config.batch_size)
    protocol = choose_protocol(config.dataset, config.protocol, shape_only.likelihood)
    return Checked(build_model, build_objective, protocol)


def _check_choices(config: Config) -> None:
    """Raise a `VaejaxError` for a wrong word, or settings that exclude each other."""
    checkpoints.check_path(config.out)
    if config.on_nonfinite not in ("stop", "skip"):
        raise VaejaxError(
            f"on_nonfinite is {shown(config.on_nonfinite)}: use one of ['skip', 'stop']"
        )
    if config.regularizers and (config.micro_batch_size or config.batch_size) < 2:
        raise VaejaxError(
            "a regularizer compares the examples of a batch, and the batch holds "
            "only one: use a batch size, or a micro-batch size, of at least 2"
        )
    if config.batch_size % (config.micro_batch_size or 1):
        raise VaejaxError(
            f"micro_batch_size is {config.micro_batch_size}, which does not divide "
            f"batch_size {config.batch_size}: use a divisor, or leave it out"
        )
    if config.num_samples % config.sample_devices:
        raise VaejaxError(
            f"sample_devices is {config.sample_devices}, which does not divide "
            f"num_samples {config.num_samples}: use a divisor, or leave it out"
        )
    if config.profile and config.epochs < 2:
        raise VaejaxError(
            "the profile covers the second epoch: use at least 2 epochs, or leave "
            "--profile out"
        )
    if config.schedule not in SCHEDULES:
        raise unknown("schedule", config.schedule, SCHEDULES)
    for extra in ("tensorboard", "wandb", "mlflow"):
        if getattr(config, extra):
            import_extra(extra)


def prepare(config: Config) -> Run:
    """Read the data, and check and build the run of a configuration.

    Raises:
        VaejaxError: as `check`, or settings that the data or the memory exclude.
    """
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
            f"{config.dataset} has only {len(train.images)}: use a smaller batch_size"
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
    mesh = training_mesh(
        config.micro_batch_size or config.batch_size,
        sample_devices=config.sample_devices,
    )
    return Run(
        config=config,
        model=model,
        objective=objective,
        optimizer=make_optimizer(config, model, len(data.train.x)),
        data=data,
        mesh=mesh,
        keys=make_keys(config),
    )


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
                f"the setting {shown(word)} follows no regularizer: write its name "
                "first, as in --regularizers mmd weight=5"
            )

    known = {"num_examples": num_examples}
    return [build(REGULARIZERS, name, pairs, known) for name, pairs in named]


def named_kl_weight(config: Config, num_examples: int) -> KLWeight | None:
    """Build the named KL weight, with its settings; `epochs` become steps."""
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
    """Adam with a learning rate scheduled over all steps of the run.

    If the encoder takes more steps than the model, it does so in the first half of the
    run; the learning rate of each part falls with the steps of that part.
    """
    steps = config.epochs * steps_per_epoch(num_examples, config.batch_size)
    if expected := mismatch(Steps, steps):
        raise VaejaxError(
            f"{config.epochs:,} epochs are {steps:,} steps: use fewer epochs, or "
            f"larger batches, for {expected}"
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
        prior_follows=not model.latent_prior.normalized,  # a density ratio
    )


def make_keys(config: Config) -> Keys:
    """Split the seed's key."""
    return Keys(*jax.random.split(jax.random.key(config.seed), len(Keys._fields)))
