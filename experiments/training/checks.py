"""The checks of a training's settings that need nothing built."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from experiments.harness.extras import import_extra
from experiments.training.config import Config
from vaejax.bounds import BOUNDS
from vaejax.core import VaejaxError, factory_of, unknown
from vaejax.estimators import ESTIMATORS
from vaejax.models import MODELS
from vaejax.training import checkpoints
from vaejax.training.optimizers import OPTIMIZERS
from vaejax.training.schedules import SCHEDULES

REGISTRIES: dict[str, Mapping[str, Callable[..., Any]]] = {
    "model": MODELS,
    "bound": BOUNDS,
    "estimator": ESTIMATORS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}
NAMES: dict[str, Collection[str]] = {
    "on_nonfinite": ("stop", "skip"),
}


def check_choices(config: Config) -> None:
    """Raise a `VaejaxError` for a wrong word, or settings that exclude each other."""
    checkpoints.check_path(config.out)
    for setting, registry in REGISTRIES.items():
        factory_of(registry, getattr(config, setting), setting)
    for setting, known in NAMES.items():
        if (name := getattr(config, setting)) not in known:
            raise unknown(setting, name, known)
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
    for extra in ("tensorboard", "wandb", "mlflow"):
        if getattr(config, extra):
            import_extra(extra)
