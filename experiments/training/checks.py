"""The checks of a training's settings before any data are read, and what they build."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.harness.extras import import_extra
from experiments.training.config import Config
from experiments.training.optimizer import SCHEDULES
from experiments.training.protocol import choose_protocol
from vaejax.bounds import BOUNDS
from vaejax.core import (
    KLWeight,
    Model,
    Objective,
    Regularizer,
    VaejaxError,
    build,
    read,
    unknown,
)
from vaejax.core.build import Word
from vaejax.core.ranges import shown
from vaejax.data import DATASETS
from vaejax.estimators import ESTIMATORS
from vaejax.kl_weights import KL_WEIGHTS
from vaejax.models import MODELS
from vaejax.objective import make_objective
from vaejax.regularizers import REGULARIZERS
from vaejax.training import checkpoints, several_seeds, steps_per_epoch


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
        raise unknown("on_nonfinite", config.on_nonfinite, ("stop", "skip"))
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
