"""The settings of a training, with their defaults and their limits."""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option
from experiments.harness.settings import Large, Rate, Seed, Settings, Share
from vaejax.core.ranges import CountOrZero, Range, Steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """Data."""

    dataset: Annotated[str, option("NAME", names="datasets")] = "mnist"
    """to train on"""
    protocol: Annotated[str | None, option("NAME")] = None
    """dynamic, static, threshold, none, dequantized, counts"""
    data_dir: Annotated[Path | None, option("DIR")] = None
    """prepared data (default: $TFDS_DATA_DIR)"""
    num_labels: Annotated[int | None, option("N")] = None
    """labels given, chosen by --seed (default: all)"""
    without_class: Annotated[CountOrZero | None, option("Y")] = None
    """class left out of the training split"""
    mutation_rate: Annotated[Share | None, option("X")] = None
    """share of training pixels set at random"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """Model."""

    model: Annotated[str, option("NAME", names="models")] = "gaussian_mlp"
    """to train"""
    model_settings: Annotated[tuple[str, ...], option("S=V..")] = ()
    """of the model, as in latent_dim=20 hidden=300,300"""
    start_from: Annotated[Path | None, option("DIR")] = None
    """another run's networks, and prior if it fits"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveSettings(Settings):
    """Objective."""

    bound: Annotated[str, option("NAME", names="bounds")] = "elbo"
    """what is maximised"""
    bound_settings: Annotated[tuple[str, ...], option("S=V..")] = ()
    """of the bound, as in beta=2"""
    estimator: Annotated[str, option("NAME", names="estimators")] = "dreg"
    """of the gradient"""
    estimator_settings: Annotated[tuple[str, ...], option("S=V..")] = ()
    """of the estimator, as in baseline=leave_one_out"""
    num_samples: Annotated[int, option("K")] = 1
    """importance samples per example"""
    allow_bias: bool = False
    """accept an estimator that is biased for the bound"""
    regularizers: Annotated[
        tuple[str, ...], option("NAME..", names="regularizers")
    ] = ()
    """as in mmd weight=5"""
    kl_weight: Annotated[tuple[str, ...], option("NAME..", names="kl_weights")] = ()
    """as in linear epochs=10"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimisationSettings(Settings):
    """Optimisation."""

    epochs: Annotated[int, option("N")] = 60
    """passes over the training split"""
    batch_size: Annotated[int, option("N")] = 100
    """examples per step"""
    learning_rate: Annotated[Rate, option("X")] = 1e-3
    """Adam's, at its highest"""
    schedule: Annotated[str, option("NAME")] = "cosine"
    """of that rate: cosine or constant"""
    auxiliary_rate: Annotated[Rate | None, option("X")] = None
    """of discriminators (default: the same)"""
    encoder_steps: Annotated[int, option("N")] = 1
    """per step of the model, at first"""
    seed: Annotated[Seed, option("N")] = 0
    """of everything random"""
    num_seeds: Annotated[int, option("N")] = 1
    """models trained side by side"""
    on_nonfinite: Annotated[str, option("NAME")] = "stop"
    """at NaN or infinity: stop, or skip"""
    max_skipped: Annotated[Steps, option("N")] = 100
    """steps that may be skipped, in all"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings):
    """Evaluation."""

    eval_num_samples: Annotated[Large, option("S")] = 5000
    """importance samples of log p(x)"""
    eval_examples: Annotated[int | None, option("N")] = None
    """evaluate only the first so many (default: all)"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WatchingSettings(Settings):
    """Watching."""

    checkpoint_seconds: Annotated[float, option("T"), Range(0, 1e9)] = 30.0
    """time between checkpoints"""
    checkpoint_steps: Annotated[Steps | None, option("N")] = None
    """steps between checkpoints, besides"""
    snapshot_epochs: Annotated[int | None, option("N")] = None
    """keep every N-th epoch's state, to replay"""
    tensorboard: bool = False
    """scalars, images, histograms"""
    wandb: Annotated[str | None, option("PROJECT")] = None
    """the same for Weights & Biases, online or offline"""
    mlflow: Annotated[str | None, option("NAME")] = None
    """metrics for this experiment of MLflow"""
    profile: bool = False
    """time an epoch by operation"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessSettings(Settings):
    """Processes, devices and memory."""

    micro_batch_size: Annotated[int | None, option("N")] = None
    """examples per gradient (default: fits the cache)"""
    memory_budget: Annotated[Steps, option("MIB")] = 512
    """of a gradient; bounds that default"""
    matmul_precision: Annotated[str, option("NAME")] = "default"
    """float32, tensorfloat32, bfloat16 (default: JAX's)"""
    sample_devices: Annotated[int, option("N")] = 1
    """devices that share the K samples"""
    distributed: bool = False
    """one of many processes, by Slurm or as below"""
    coordinator: Annotated[str | None, option("HOST:PORT")] = None
    """where process 0 runs, and a free port of it"""
    num_processes: Annotated[int | None, option("N")] = None
    """processes of the run"""
    process_id: Annotated[CountOrZero | None, option("N")] = None
    """number of this process, from 0"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(  # a dataclass has the fields of its last base first
    ProcessSettings,
    WatchingSettings,
    EvaluationSettings,
    OptimisationSettings,
    ObjectiveSettings,
    ModelSettings,
    DataSettings,
):
    """Train a variational autoencoder and estimate its test log-likelihood."""

    out: Annotated[Path, option("DIR")] = Path("runs/train")
    """folder of the run"""
    overwrite: bool = False
    """replace the run in --out"""
    resume: bool = False
    """go on in --out, also to more --epochs"""
