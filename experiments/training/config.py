"""What a training is asked for: its settings, their defaults and their limits."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import optax

from experiments.harness.cli import option
from experiments.harness.settings import Large, Rate, Seed, Settings, Share
from vaejax.core import VaejaxError
from vaejax.core.ranges import CountOrZero, Range, Steps
from vaejax.training import checkpoints

SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "cosine": optax.cosine_decay_schedule,
    "constant": lambda learning_rate, steps: optax.constant_schedule(learning_rate),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Train a variational autoencoder and estimate its test log-likelihood."""

    dataset: Annotated[str, option("NAME")] = "mnist"
    """a wrong name lists all"""
    protocol: Annotated[str | None, option("NAME")] = None
    """of binarization; a wrong name lists all"""
    data_dir: Annotated[Path | None, option("DIR")] = None
    """prepared data (default: $TFDS_DATA_DIR)"""
    model: Annotated[str, option("NAME")] = "gaussian_mlp"
    """a wrong name lists all"""
    model_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """of the model, as in latent_dim=20 hidden=300,300"""
    bound: Annotated[str, option("NAME")] = "elbo"
    """as in iwae; a wrong name lists all"""
    bound_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """of the bound, as in beta=2"""
    estimator: Annotated[str, option("NAME")] = "dreg"
    """as in pathwise or rloo; a wrong name lists all"""
    estimator_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """of the estimator, as in baseline=leave_one_out"""
    regularizers: Annotated[tuple[str, ...], option("NAME..")] = ()
    """batch-level terms of the loss, as in mmd, or mmd weight=5"""
    kl_weight: Annotated[tuple[str, ...], option("NAME..")] = ()
    """as in linear epochs=10, or kl_at_most max_kl=20"""
    num_samples: Annotated[int, option("K")] = 1
    """importance samples per example"""
    allow_bias: bool = False
    """accept an estimator that is biased for the bound"""
    start_from: Annotated[Path | None, option("DIR")] = None
    """another run's networks, and prior if it fits"""
    num_labels: Annotated[int | None, option("N")] = None
    """labels given, chosen by --seed (default: all)"""
    without_class: Annotated[CountOrZero | None, option("Y")] = None
    """left out of the training split"""
    mutation_rate: Annotated[Share | None, option("X")] = None
    """share of training pixels set at random"""
    epochs: Annotated[int, option("N")] = 60
    """passes over the training split"""
    batch_size: Annotated[int, option("N")] = 100
    """examples per step"""
    micro_batch_size: Annotated[int | None, option("N")] = None
    """examples per gradient, a divisor (default: fits the cache)"""
    sample_devices: Annotated[int, option("N")] = 1
    """devices that share the K samples"""
    memory_budget: Annotated[Steps, option("MIB")] = 512
    """of a gradient's intermediate values; bounds that default"""
    matmul_precision: Annotated[str, option("NAME")] = "default"
    """float32, tensorfloat32 or bfloat16 (default: JAX's)"""
    learning_rate: Annotated[Rate, option("X")] = 1e-3
    """Adam's, at its highest"""
    auxiliary_rate: Annotated[Rate | None, option("X")] = None
    """of discriminators (default: the same)"""
    schedule: Annotated[str, option("NAME")] = "cosine"
    """of that rate: cosine or constant"""
    encoder_steps: Annotated[int, option("N")] = 1
    """per step of the model, at first"""
    seed: Annotated[Seed, option("N")] = 0
    """of everything random"""
    num_seeds: Annotated[int, option("N")] = 1
    """models trained side by side, on the same batches"""
    eval_num_samples: Annotated[Large, option("S")] = 5000
    """importance samples of the test log-likelihood"""
    eval_examples: Annotated[int | None, option("N")] = None
    """evaluate only the first so many (default: all)"""
    checkpoint_seconds: Annotated[float, option("T"), Range(0, 1e9)] = 30.0
    """time between checkpoints"""
    checkpoint_steps: Annotated[Steps | None, option("N")] = None
    """steps between checkpoints, besides"""
    snapshot_epochs: Annotated[int | None, option("N")] = None
    """keep every N-th epoch's state, to replay"""
    on_nonfinite: Annotated[str, option("NAME")] = "stop"
    """at NaN or infinity: stop, or skip"""
    max_skipped: Annotated[Steps, option("N")] = 100
    """steps that may be skipped, in all"""
    tensorboard: bool = False
    """scalars, images, histograms"""
    wandb: Annotated[str | None, option("PROJECT")] = None
    """the same for Weights & Biases, online or offline"""
    mlflow: Annotated[str | None, option("NAME")] = None
    """metrics for this experiment of MLflow"""
    profile: bool = False
    """time an epoch by operation"""
    distributed: bool = False
    """one of many processes, by Slurm or as below"""
    coordinator: Annotated[str | None, option("HOST:PORT")] = None
    """where process 0 runs, and a free port of it"""
    num_processes: Annotated[int | None, option("N")] = None
    """of the run"""
    process_id: Annotated[CountOrZero | None, option("N")] = None
    """of this process, from 0"""
    out: Annotated[Path, option("DIR")] = Path("runs/train")
    """folder of the run"""
    overwrite: bool = False
    """replace the run in --out"""
    resume: bool = False
    """go on in --out, also to more --epochs"""


def check_choices(config: Config) -> None:
    """Raise a `VaejaxError` for a word, or for settings that exclude each other."""
    checkpoints.check_path(config.out)
    if config.on_nonfinite not in ("stop", "skip"):
        raise VaejaxError(
            f"on_nonfinite is {config.on_nonfinite!r}: use one of ['skip', 'stop']"
        )
    if config.regularizers and (config.micro_batch_size or config.batch_size) < 2:
        raise VaejaxError(
            "a regularizer compares the examples of a batch, and there is one: use "
            "a batch size, or a micro-batch size, of at least 2"
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
            "the profile is of the second epoch: use at least 2, or leave it out"
        )
    if config.schedule not in SCHEDULES:
        raise VaejaxError(
            f"unknown schedule {config.schedule!r}: use one of {sorted(SCHEDULES)}"
        )
