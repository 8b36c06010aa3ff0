"""The settings of a training, with their defaults and their limits."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments.harness.arguments import named
from experiments.harness.cli import option
from experiments.harness.settings import (
    Decay,
    Large,
    Pixels,
    Rate,
    Seed,
    Settings,
    Share,
)
from vaejax.core.ranges import CountOrZero, Range, Steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """Data."""

    dataset: Annotated[str, option("NAME|PATH", names="datasets")] = "mnist"
    """data set, or path of your own data"""
    protocol: Annotated[str | None, option("NAME")] = None
    """pixels: dynamic, static, threshold, none, dequantized; counts; reals
    (default: depends on data set and likelihood)"""
    data_dir: Annotated[Path | None, option("DIR")] = None
    """folder of the prepared data (default: $TFDS_DATA_DIR)"""
    num_labels: Annotated[int | None, option("N")] = None
    """labels to use, chosen by --seed (default: all)"""
    without_class: Annotated[CountOrZero | None, option("Y")] = None
    """class to leave out of the training split"""
    mutation_rate: Annotated[Share | None, option("X")] = None
    """share of training pixels set to random grey levels"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnDataSettings(Settings):
    """Your own data."""

    image_size: Annotated[Pixels | None, option("N")] = None
    """scale and crop images to N x N pixels"""
    split: Annotated[tuple[float, ...] | None, option("X..")] = None
    """shares of the splits (default: 0.8,0.1,0.1)"""
    split_seed: Annotated[Seed, option("N")] = 0
    """seed of the splits"""
    label_column: Annotated[str | None, option("NAME")] = None
    """column of the classes"""
    group_column: Annotated[str | None, option("NAME")] = None
    """column of groups that stay together"""
    missing_value: Annotated[str | None, option("X")] = None
    """what marks a missing value, beside NaN"""
    standardize: bool = False
    """give columns mean 0 and standard deviation 1"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """Model."""

    model: Annotated[str, option("NAME", names="models")] = "gaussian_mlp"
    """model"""
    model_settings: Annotated[tuple[str, ...], option("S=V..")] = ()
    """model settings, as in latent_dim=20 hidden=300,300"""
    start_from: Annotated[Path | None, option("DIR")] = None
    """run to start from: networks, and a prior that fits"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveSettings(Settings):
    """Objective."""

    bound: Annotated[str, option("NAME", names="bounds")] = "elbo"
    """bound to maximise"""
    bound_settings: Annotated[tuple[str, ...], option("S=V..")] = ()
    """settings of the bound, as in beta=2"""
    estimator: Annotated[str, option("NAME", names="estimators")] = "dreg"
    """gradient estimator"""
    estimator_settings: Annotated[tuple[str, ...], option("S=V..")] = ()
    """estimator settings, as in baseline=leave_one_out"""
    num_samples: Annotated[int, option("K")] = 1
    """importance samples per example"""
    allow_bias: bool = False
    """accept an estimator that is biased for the bound"""
    regularizers: Annotated[
        tuple[str, ...], option("NAME..", names="regularizers")
    ] = ()
    """loss terms, as in mmd weight=5"""
    kl_weight: Annotated[tuple[str, ...], option("NAME..", names="kl_weights")] = ()
    """KL weight, as in linear epochs=10"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimisationSettings(Settings):
    """Optimisation."""

    epochs: Annotated[int, option("N")] = 60
    """passes over the training split"""
    batch_size: Annotated[int, option("N")] = 100
    """examples per training step"""
    optimizer: Annotated[str, option("NAME", names="optimizers")] = "adam"
    """optimizer"""
    optimizer_settings: Annotated[tuple[str, ...], option("S=V..")] = ()
    """optimizer settings, as in b1=0.8 eps=1e-4"""
    learning_rate: Annotated[Rate, option("X")] = 1e-3
    """highest learning rate"""
    schedule: Annotated[str, option("NAME", names="schedules")] = "cosine"
    """schedule of the learning rate"""
    schedule_settings: Annotated[tuple[str, ...], option("S=V..")] = ()
    """schedule settings, as in epochs=5"""
    auxiliary_rate: Annotated[Rate | None, option("X")] = None
    """learning rate of discriminators (default: the same)"""
    clip_norm: Annotated[Rate | None, option("X")] = None
    """largest norm of a gradient"""
    weight_decay: Annotated[Rate | None, option("X")] = None
    """weight decay: the optimizer's own, or else L2"""
    ema: Annotated[Decay | None, option("D")] = None
    """evaluate and keep averaged parameters, as in 0.999"""
    encoder_steps: Annotated[int, option("N")] = 1
    """encoder updates per decoder update in the first half of the epochs"""
    seed: Annotated[Seed, option("N")] = 0
    """seed of all random numbers"""
    num_seeds: Annotated[int, option("N")] = 1
    """models of different seeds, side by side"""
    on_nonfinite: Annotated[str, option("NAME")] = "stop"
    """action on NaN or infinity: stop, skip"""
    max_skipped: Annotated[Steps, option("N")] = 100
    """largest number of skipped steps"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChoiceSettings(Settings):
    """Choice of the epoch."""

    select: Annotated[Literal["last", "validation"] | None, option()] = None
    """epoch to keep (default: last if the rate decays)"""
    patience: Annotated[int | None, option("N")] = None
    """end after N epochs without a better validation bound"""
    validation_share: Annotated[Share, option("X")] = 0.1
    """share of the training split held out for it"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings):
    """Evaluation."""

    eval_num_samples: Annotated[Large, option("S")] = 5000
    """importance samples of each log p(x)"""
    eval_examples: Annotated[int | None, option("N")] = None
    """evaluate only the first N examples (default: all)"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WatchingSettings(Settings):
    """Watching."""

    checkpoint_seconds: Annotated[float, option("T"), Range(0, 1e9)] = 30.0
    """seconds between checkpoints"""
    checkpoint_steps: Annotated[Steps | None, option("N")] = None
    """steps between additional checkpoints"""
    snapshot_epochs: Annotated[int | None, option("N")] = None
    """keep the state of every N-th epoch, to replay it"""
    tensorboard: bool = False
    """write scalars, images and histograms for TensorBoard"""
    wandb: Annotated[str | None, option("PROJECT")] = None
    """write the same to a project of Weights & Biases"""
    mlflow: Annotated[str | None, option("NAME")] = None
    """write metrics to this experiment of MLflow"""
    profile: bool = False
    """measure the time of every operation in one epoch"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessSettings(Settings):
    """Processes, devices and memory."""

    micro_batch_size: Annotated[int | None, option("N")] = None
    """examples of a batch at once (default: fits the cache)"""
    memory_budget: Annotated[Steps, option("MIB")] = 512
    """largest memory of one gradient in MiB"""
    matmul_precision: Annotated[str, option("NAME")] = "default"
    """float32, tensorfloat32 or bfloat16 (default: JAX's)"""
    prng: Annotated[str, option("NAME")] = "one_pass"
    """one_pass, or jax: the same random bits, slower on CPUs"""
    sample_devices: Annotated[int, option("N")] = 1
    """devices that share the K samples"""
    distributed: bool = False
    """run one of many processes, named by Slurm or below"""
    coordinator: Annotated[str | None, option("HOST:PORT")] = None
    """address of process 0, with a free port"""
    num_processes: Annotated[int | None, option("N")] = None
    """number of processes in the run"""
    process_id: Annotated[CountOrZero | None, option("N")] = None
    """number of this process, from 0"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(  # a dataclass has the fields of its last base first
    ProcessSettings,
    WatchingSettings,
    EvaluationSettings,
    ChoiceSettings,
    OptimisationSettings,
    ObjectiveSettings,
    ModelSettings,
    OwnDataSettings,
    DataSettings,
):
    """Train a variational autoencoder and estimate its test log-likelihood."""

    out: Annotated[Path, option("DIR")] = Path("runs/train")
    """folder of the run"""
    overwrite: bool = False
    """replace the run in --out"""
    resume: bool = False
    """continue the run in --out, also to more --epochs"""

    def __post_init__(self) -> None:
        """Part `NAME:S=V` of a model, bound and so on into a name and settings."""
        super().__post_init__()
        for field in ("model", "bound", "estimator", "optimizer", "schedule"):
            ((name, settings),) = named([getattr(self, field)])
            own = (*settings, *getattr(self, f"{field}_settings"))
            object.__setattr__(self, field, name)
            object.__setattr__(self, f"{field}_settings", own)
