r"""Compare gradient estimators along one training run.

    python -m experiments.train --dataset mnist --bound iwae --num-samples 5 \
        --snapshot-epochs 5 --epochs 60 --out runs/iwae5
    python -m experiments.replay --checkpoint runs/iwae5 --estimators pathwise dreg stl

At the start and at every snapshot of the run, all estimators, also those that did not
train the model, draw gradients of the bound on the same minibatch with the same keys.
The report shows how bias and variance change during training.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Error, Large, Seed, Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSettings(Settings):
    """Cells."""

    checkpoint: Annotated[Path, option("DIR")]
    """run of experiments.train that was trained with --snapshot-epochs"""
    bounds: Annotated[tuple[str, ...], option("NAME..", names="bounds")] = ()
    """names of the bounds to differentiate (default: the run's)"""
    estimators: Annotated[tuple[str, ...], option("NAME..", names="estimators")] = (
        "pathwise",
        "stl",
        "dreg",
    )
    """names, with settings if any, as in nvil:decay=0.9"""
    num_samples: Annotated[tuple[int, ...], option("K..")] = ()
    """importance samples per example (default: the run's)"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawSettings(Settings):
    """Measurement."""

    draws: Annotated[Large, option("N")] = 1000
    """gradients per cell"""
    batch_size: Annotated[int, option("N")] = 20
    """test images that a gradient averages"""
    reference_error: Annotated[Error, option("X")] = 0.05
    """largest relative error of a drawn reference (at most 16 passes)"""
    per_layer: bool = False
    """report every array of parameters separately"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(DrawSettings, CellSettings):
    """Compare gradient estimators along one training run."""

    seed: Annotated[Seed, option("N")] = 0
    """seed of the draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/replay")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """measure only the cells that are not measured in --out"""


if __name__ == "__main__":
    read_command_line(Config)

import jax
import jax.numpy as jnp

from experiments.benchmark.cell_run import Results, measure
from experiments.benchmark.choice import choose_bounds, choose_estimators
from experiments.benchmark.measured_model import make_keys
from experiments.harness.cli import command_of
from experiments.harness.names import check_named_once
from experiments.training import load
from vaejax.benchmark import fold_count
from vaejax.benchmark.cells import Point, make_groups
from vaejax.bounds import BOUNDS
from vaejax.core import Batch, VaejaxError, build, own_code
from vaejax.estimators import ESTIMATORS


def run(config: Config) -> Results:
    """Measure every cell of snapshots x bounds x estimators x K.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    estimators = choose_estimators(config.estimators)
    bounds = choose_bounds(config.bounds)
    check_named_once(config, "num_samples")
    if not estimators:
        raise VaejaxError(
            "--estimators is empty: name at least one estimator, as in --estimators "
            "dreg"
        )
    fold_count(config.draws)
    trained = load.load_run(config.checkpoint)
    own = trained.config
    with own_code.of_run(config.checkpoint):
        own_bound = build(BOUNDS, own.bound, own.bound_settings)
        trained_with = build(ESTIMATORS, own.estimator, own.estimator_settings)
    if own.kl_weight:
        print(
            f"{config.checkpoint} was trained with --kl-weight "
            f"{' '.join(own.kl_weight)}; the gradients measured are those "
            "of the bound without it"
        )
    snapshots = load.load_snapshots(trained)
    if config.batch_size > len(trained.data.test.x):
        raise VaejaxError(
            f"batch_size is {config.batch_size}, but {config.checkpoint} has only "
            f"{len(trained.data.test.x)} test images: use a smaller batch_size"
        )
    examples = jax.tree.map(lambda leaf: leaf[: config.batch_size], trained.data.test)
    work = []
    for step, (params, state) in snapshots.items():
        point = Point(
            model=trained.model,
            params=params,
            batch=Batch(examples, jnp.arange(config.batch_size)),
            keys=make_keys(config.seed).comparison,
            draws=config.draws,
            per_layer=config.per_layer,
            reference_error=config.reference_error,
            step=step,
            trained_with=trained_with.name,
            trained_state=state,
        )
        groups = make_groups(
            point,
            bounds or [own_bound],
            estimators,
            config.num_samples or (own.num_samples,),
            (1,),
        )
        work += [(point, group) for group in groups]
    return measure(config, work, command_of("replay", config))


if __name__ == "__main__":
    run_main(Config, run)
