"""Compare gradient estimators: bias, variance, cost of each.

    python -m experiments.estimator_variance --model linear_gaussian \
        --bounds elbo iwae --estimators pathwise stl dreg --num-samples 1 8 64 \
        --draws 2000 --out runs/variance

All gradients are taken at the same parameters, on the same observations, with the same
keys. The reference is the exact gradient where the model can be integrated, and else an
unbiased estimator with separate draws. A refused cell has a row with the reason. Each
measured cell is written at once; --resume goes on with the others. A --budget is spent
on the cells' draws: references, splits of the variance and costs come on top, and the
report states the precision reached.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Error, Large, Seed, Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """Model."""

    model: Annotated[tuple[str, ...], option("NAME..", names="models")] = (
        "linear_gaussian",
    )
    """models to measure at their initial parameters, on their own samples"""
    model_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """settings of every model, as in latent_dim=1 data_shape=3"""
    checkpoint: Annotated[Path | None, option("DIR")] = None
    """run of experiments.train to measure, not --model"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSettings(Settings):
    """Cells."""

    bounds: Annotated[tuple[str, ...], option("NAME..", names="bounds")] = (
        "elbo",
        "iwae",
    )
    """names, with settings if any, as in renyi:alpha=0.3, or all"""
    estimators: Annotated[tuple[str, ...], option("NAME..", names="estimators")] = (
        "pathwise",
        "stl",
        "dreg",
    )
    """names, with settings if any, as in nvil:decay=0.9, or all"""
    num_samples: Annotated[tuple[int, ...], option("K..")] = (1, 8, 64)
    """importance samples per example"""
    num_outer: Annotated[tuple[int, ...], option("M..")] = (1,)
    """estimates that a gradient averages"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawSettings(Settings):
    """Measurement."""

    draws: Annotated[Large, option("N")] = 2000
    """gradients per cell"""
    budget: Annotated[str | None, option("TIME")] = None
    """time for all draws, as in 90s, 10m or 2h, in the place of --draws"""
    batch_size: Annotated[int, option("N")] = 4
    """observations that a gradient averages"""
    pool: Annotated[int | None, option("N")] = None
    """observations to draw every batch from; this splits the variance"""
    reference_error: Annotated[Error, option("X")] = 0.05
    """largest relative error of a drawn reference (at most 16 passes)"""
    cost: Annotated[Literal["timed", "counted"], option("NAME")] = "timed"
    """measure seconds, or count the evaluations of the decoder"""
    per_layer: bool = False
    """report every array of parameters separately"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(DrawSettings, CellSettings, ModelSettings):
    """Compare gradient estimators: bias, variance, signal-to-noise and cost."""

    seed: Annotated[Seed, option("N")] = 0
    """seed of parameters, data and draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/variance")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """measure only the cells that are not measured in --out"""


if __name__ == "__main__":
    read_command_line(Config)

import re

import jax.numpy as jnp

from experiments.benchmark import measured_model
from experiments.benchmark.cell_run import Results, measure
from experiments.benchmark.choice import choose_bounds, choose_estimators
from experiments.harness.cli import command_of
from experiments.harness.names import check_named_once
from experiments.harness.settings import Seconds
from vaejax.benchmark import fold_count
from vaejax.benchmark.cells import Point, make_groups
from vaejax.core import Batch, Bound, Estimator, VaejaxError, build
from vaejax.core.ranges import mismatch, shown
from vaejax.models import MODELS


def check(config: Config) -> tuple[list[Bound], list[Estimator]]:
    """Build the bounds and estimators, before anything is computed.

    Raises:
        VaejaxError: an unknown name, or a number that cannot be.
    """
    bounds = choose_bounds(config.bounds)
    estimators = choose_estimators(config.estimators)
    if not (bounds and estimators and config.num_samples and config.num_outer):
        raise VaejaxError(
            "a list of cells is empty: name at least one bound, one estimator, one K "
            "and one M"
        )
    check_named_once(config, "model", "num_samples", "num_outer")
    if config.checkpoint is not None and config.model_settings:
        raise VaejaxError(
            "--model-settings follow from the run in --checkpoint: leave them out"
        )
    if not (config.model or config.checkpoint):
        raise VaejaxError(
            "--model is empty: name at least one model, as in --model linear_gaussian"
        )
    if config.checkpoint is None:
        for name in config.model:
            build(MODELS, name, config.model_settings)
    seconds_of(config.budget)
    split = config.pool is not None and config.budget is None
    fold_count(config.draws, 2 if split else 1)  # raises without equal folds
    return bounds, estimators


def seconds_of(budget: str | None) -> float | None:
    """The number of seconds in a time such as 90s, 10m or 2h.

    Raises:
        VaejaxError: it is none.
    """
    if budget is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget, re.ASCII)
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0
    if mismatch(Seconds, seconds):
        raise VaejaxError(
            f"--budget is {shown(budget)}: use a time such as 90s, 10m or 2h"
        )
    return seconds


def run(config: Config) -> Results:
    """Measure every cell of models x bounds x estimators x K x M.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    bounds, estimators = check(config)
    work = [
        (point, group)
        for point in make_points(config)
        for group in make_groups(
            point, bounds, estimators, config.num_samples, config.num_outer
        )
    ]
    command = command_of("estimator_variance", config)
    return measure(
        config,
        work,
        command,
        seconds=seconds_of(config.budget),
        timed=config.cost == "timed",
    )


def make_points(config: Config) -> list[Point]:
    """Make a point for every model."""
    keys = measured_model.make_keys(config.seed)
    count = config.pool or config.batch_size
    if config.checkpoint is not None:
        name = "pool" if config.pool else "batch_size"
        places = [measured_model.of_checkpoint(config.checkpoint, count, name)]
    else:
        places = [
            measured_model.of_registry(
                name,
                config.model_settings,
                count,
                params_key=keys.params,
                examples_key=keys.examples,
            )
            for name in config.model
        ]
    return [
        Point(
            model=place.model,
            params=place.params,
            batch=Batch(place.examples, jnp.arange(count)),
            keys=keys.comparison,
            draws=config.draws,
            batch_size=config.batch_size if config.pool else None,
            split_variance=config.pool is not None,
            per_layer=config.per_layer,
            reference_error=config.reference_error,
            trained_with=place.estimator,
            as_initialised=not config.checkpoint,
            trained_state=place.state,
        )
        for place in places
    ]


if __name__ == "__main__":
    run_main(Config, run)
