"""Compare gradient estimators: bias, variance, signal-to-noise and cost of each.

    python -m experiments.estimator_variance --model linear_gaussian \
        --bounds elbo iwae --estimators pathwise stl dreg --num-samples 1 8 64 \
        --draws 2000 --out runs/variance

All gradients are taken at the same parameters, on the same observations, with the same
keys. The reference is the exact gradient where the model can be integrated, and else an
unbiased estimator with draws of its own. A cell that cannot be is a row that says so.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments import measured_model, run_folder, variance_report
from experiments.cli import option, progress_bar, run_main
from experiments.gradient_cells import COLUMNS, Setting, make_keys, measure_cells
from experiments.result_table import write_csv
from experiments.setup import build_named, check_seed
from vaejax.bounds import BOUNDS
from vaejax.core import Batch, Bound, Estimator, VaejaxError
from vaejax.diagnostics import fold_count
from vaejax.estimators import ESTIMATORS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Compare gradient estimators: bias, variance, signal-to-noise and cost."""

    model: Annotated[str, option("NAME")] = "linear_gaussian"
    """at its initial parameters, on its own samples"""
    model_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """of the model, as in latent_dim=1 data_shape=3"""
    checkpoint: Annotated[Path | None, option("DIR")] = None
    """instead: a run of experiments.train, on its test images"""
    bounds: Annotated[tuple[str, ...], option("NAME..")] = ("elbo", "iwae")
    """a wrong name lists all"""
    estimators: Annotated[tuple[str, ...], option("NAME..")] = (
        "pathwise",
        "stl",
        "dreg",
    )
    """a wrong name lists all"""
    num_samples: Annotated[tuple[int, ...], option("K..")] = (1, 8, 64)
    """importance samples per example"""
    draws: Annotated[int, option("N")] = 2000
    """gradients per cell"""
    batch_size: Annotated[int, option("N")] = 4
    """observations that a gradient is the mean over"""
    seed: Annotated[int, option("N")] = 0
    """of parameters, observations and draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/variance")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""


class Results(NamedTuple):
    """A row per cell and parameter group, as in results.csv, and the files' folder."""

    rows: list[dict[str, Any]]
    refusals: dict[str, str]  # cell: reason
    out: Path


def check(config: Config) -> tuple[list[Bound], list[Estimator]]:
    """The bounds and estimators asked for, before anything is computed.

    Raises:
        VaejaxError: an unknown name, or a number that cannot be.
    """
    bounds = [build_named(BOUNDS, name) for name in config.bounds]
    estimators = [build_named(ESTIMATORS, name) for name in config.estimators]
    if not (bounds and estimators and config.num_samples):
        raise VaejaxError("name at least one bound, one estimator and one K")
    for field in ("draws", "batch_size", "num_samples"):
        if np.min(getattr(config, field)) < 1:
            raise VaejaxError(f"{field} is {getattr(config, field)}: use at least 1")
    fold_count(config.draws)
    check_seed(config.seed)
    return bounds, estimators


def run(config: Config) -> Results:
    """Measure every cell of bounds x estimators x K; write results.csv and figures.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    bounds, estimators = check(config)
    name, setting = _setting(config)
    with run_folder.open_run(config.out, config, overwrite=config.overwrite):
        return _measure(config, bounds, estimators, name, setting)


def _measure(
    config: Config,
    bounds: list[Bound],
    estimators: list[Estimator],
    name: str,
    setting: Setting,
) -> Results:
    print(
        f"{len(bounds)} bounds x {len(estimators)} estimators x K in "
        f"{list(config.num_samples)} on {name}, {config.draws} draws each "
        f"-> {config.out}"
    )
    rows: list[dict[str, Any]] = []
    refusals: dict[str, str] = {}
    references: dict[str, str] = {}
    total = len(bounds) * len(estimators) * len(config.num_samples)
    with progress_bar("gradients", total, "cells") as update:
        cells = measure_cells(setting, bounds, estimators, config.num_samples)
        for done, cell in enumerate(cells, start=1):
            rows += cell.rows
            if cell.refusal is not None:
                refusals[cell.name] = cell.refusal
            if cell.reference is not None:
                references[cell.name] = cell.reference
            write_csv(config.out / "results.csv", rows, COLUMNS)
            update(done)
    variance_report.draw(config.out, rows)
    run_folder.write_json(
        config.out / "results.json",
        {
            "cells": total,
            "refusals": refusals,
            "references": references,
            "seed": config.seed,
            "versions": run_folder.versions(),
        },
    )
    variance_report.print_rows(rows, refusals, draws=config.draws, out=config.out)
    print("compared with " + " or ".join(sorted(set(references.values()))))
    return Results(rows, refusals, config.out)


def _setting(config: Config) -> tuple[str, Setting]:
    """Where the gradients are taken, with its name."""
    keys = make_keys(config.seed)
    if config.checkpoint is not None:
        if config.model_settings:
            raise VaejaxError(
                "--model-settings follow from the run in --checkpoint: leave them out"
            )
        measured = measured_model.of_checkpoint(
            config.checkpoint, config.batch_size, "batch_size"
        )
    else:
        measured = measured_model.of_registry(
            config.model,
            config.model_settings,
            config.batch_size,
            params_key=keys.params,
            examples_key=keys.examples,
        )
    batch = Batch(measured.examples, jnp.arange(config.batch_size))
    setting = Setting(measured.model, measured.params, batch, keys, config.draws)
    return measured.name, setting


if __name__ == "__main__":
    run_main(Config, run)
