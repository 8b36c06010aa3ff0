"""Compare gradient estimators: bias, variance, signal-to-noise and cost of each.

    python -m experiments.estimator_variance --model linear_gaussian \
        --bounds elbo iwae --estimators pathwise stl dreg --num-samples 1 8 64 \
        --draws 2000 --out runs/variance

All gradients are taken at the same parameters, on the same observations, with the same
keys. The reference is the exact gradient where the model can be integrated, and else an
unbiased estimator with draws of its own. A cell that cannot be is a row that says so. A
cell that is measured is written at once; --resume goes on with the others.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments import measured_model, run_folder, variance_report
from experiments.cli import command_of, option, progress_bar, run_main
from experiments.gradient_cells import (
    CELL,
    COLUMNS,
    Row,
    Set,
    Setting,
    make_keys,
    make_sets,
    measure_costs,
    measure_set,
    valid,
    with_cost,
)
from experiments.result_table import write_csv
from experiments.setup import build_named, check_seed
from vaejax.bounds import BOUNDS
from vaejax.core import Batch, Bound, Estimator, VaejaxError
from vaejax.diagnostics import fold_count
from vaejax.diagnostics.cost import CostReport
from vaejax.estimators import ESTIMATORS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Compare gradient estimators: bias, variance, signal-to-noise and cost."""

    model: Annotated[tuple[str, ...], option("NAME..")] = ("linear_gaussian",)
    """at their initial parameters, on their own samples"""
    model_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """of every model, as in latent_dim=1 data_shape=3"""
    checkpoint: Annotated[Path | None, option("DIR")] = None
    """instead: a run of experiments.train, on its test images"""
    bounds: Annotated[tuple[str, ...], option("NAME..")] = ("elbo", "iwae")
    """or all; a wrong name lists them"""
    estimators: Annotated[tuple[str, ...], option("NAME..")] = (
        "pathwise",
        "stl",
        "dreg",
    )
    """or all; a wrong name lists them"""
    num_samples: Annotated[tuple[int, ...], option("K..")] = (1, 8, 64)
    """importance samples per example"""
    num_outer: Annotated[tuple[int, ...], option("M..")] = (1,)
    """independent estimates that a gradient is the mean of"""
    draws: Annotated[int, option("N")] = 2000
    """gradients per cell"""
    budget: Annotated[str | None, option("TIME")] = None
    """instead: as in 90s, 10m or 2h, in equal parts for the cells"""
    batch_size: Annotated[int, option("N")] = 4
    """observations that a gradient is the mean over"""
    pool: Annotated[int | None, option("N")] = None
    """draw them anew for every gradient, from so many; and split the variance"""
    reference_error: Annotated[float, option("X")] = 0.05
    """of a drawn reference, relative to its norm, if 16 passes reach it"""
    per_layer: bool = False
    """report on every array of parameters"""
    seed: Annotated[int, option("N")] = 0
    """of parameters, observations and draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/variance")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """go on with the cells that are not measured"""


class Results(NamedTuple):
    """A row per cell and parameter group, as in results.csv, and the files' folder."""

    rows: list[Row]
    refusals: dict[str, str]  # cell: reason
    out: Path


def check(config: Config) -> tuple[list[Bound], list[Estimator]]:
    """The bounds and estimators asked for, before anything is computed.

    Raises:
        VaejaxError: an unknown name, or a number that cannot be.
    """
    bounds = [build_named(BOUNDS, name) for name in _names(config.bounds, BOUNDS)]
    estimators = [
        build_named(ESTIMATORS, name) for name in _names(config.estimators, ESTIMATORS)
    ]
    if not (bounds and estimators and config.num_samples and config.num_outer):
        raise VaejaxError("name at least one bound, one estimator, one K and one M")
    for field in ("draws", "batch_size", "num_samples", "num_outer", "pool"):
        value = getattr(config, field)
        if value is not None and np.min(value) < 1:
            raise VaejaxError(f"{field} is {value}: use at least 1")
    if not config.reference_error > 0:
        raise VaejaxError(
            f"reference_error is {config.reference_error}: use more than 0"
        )
    if config.checkpoint is not None and config.model_settings:
        raise VaejaxError(
            "--model-settings follow from the run in --checkpoint: leave them out"
        )
    if not (config.model or config.checkpoint):
        raise VaejaxError("name at least one model, as in --model linear_gaussian")
    seconds_of(config.budget)
    fold_count(config.draws)
    check_seed(config.seed)
    return bounds, estimators


def _names(asked: tuple[str, ...], registry: Iterable[str]) -> tuple[str, ...]:
    return tuple(registry) if asked == ("all",) else asked


def seconds_of(budget: str | None) -> float | None:
    """The seconds of a time such as 90s, 10m or 2h.

    Raises:
        VaejaxError: it is none.
    """
    if budget is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    if found is None or float(found[1]) == 0:
        raise VaejaxError(f"budget is {budget!r}: use a time such as 90s, 10m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def run(config: Config) -> Results:
    """Measure every cell of models x bounds x estimators x K x M.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    bounds, estimators = check(config)
    settings = make_settings(config)
    work = [
        (setting, cells)
        for setting in settings
        for cells in make_sets(
            setting, bounds, estimators, config.num_samples, config.num_outer
        )
    ]
    command = command_of("estimator_variance", config)
    return measure(config, work, command, seconds=seconds_of(config.budget))


def make_settings(config: Config) -> list[Setting]:
    """Where the gradients are taken: every model's place."""
    keys = make_keys(config.seed)
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
        Setting(
            model=place.model,
            params=place.params,
            batch=Batch(place.examples, jnp.arange(count)),
            keys=keys,
            draws=config.draws,
            batch_size=config.batch_size if config.pool else None,
            split_variance=config.pool is not None,
            per_layer=config.per_layer,
            reference_error=config.reference_error,
        )
        for place in places
    ]


def measure(
    config: Any,
    work: list[tuple[Setting, Set]],
    command: str,
    *,
    seconds: float | None = None,
) -> Results:
    """Measure the cells of every set, or go on with those that are not measured.

    Args:
        config: with draws, seed, out, overwrite and resume.
        work: the sets, each with its setting.
        command: that repeats the run, for its report.
        seconds: for all cells together, instead of a number of draws.
    """
    with run_folder.open_run(
        config.out, config, overwrite=config.overwrite, resume=config.resume
    ):
        try:
            return _measure(config, work, command, seconds)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"what is measured is in {config.out}; the same command with --resume "
                "goes on from there"
            ) from None


def _measure(
    config: Any,
    work: list[tuple[Setting, Set]],
    command: str,
    seconds: float | None,
) -> Results:
    total = sum(len(valid(cells)) for _, cells in work)
    refusals = {
        f"{name} x {cells.problem.bound.name} on {row['model']}, "
        f"K = {cells.problem.num_samples}": row["reason"]
        for _, cells in work
        for name, row in cells.rows.items()
        if row["status"] == "refused"
    }
    print(
        f"{total} cells, {len(refusals)} refused, "
        + (f"{config.draws} draws each" if seconds is None else f"{seconds:.0f} s")
        + f" -> {config.out}"
    )
    fingerprint = json.dumps(run_folder.settings_of(config), sort_keys=True)
    empty = dict.fromkeys(COLUMNS) | {
        "config_hash": hashlib.sha256(fingerprint.encode()).hexdigest()[:12]
    }
    journal = _Journal(config.out)
    rows: list[Row] = []
    with progress_bar("gradients", total, "cells") as update:
        done = 0
        for setting, cells in work:
            if seconds is not None:
                setting = setting._replace(seconds=seconds / max(1, total))
            names = valid(cells)
            for name, found in measure_set(
                setting, cells, [n for n in names if journal.rows_of(cells, n) is None]
            ):
                journal.write(cells, name, rows=[empty | row for row in found])
                done += 1
                update(done, name)
            if any(journal.cost_of(cells, name) is None for name in names):
                for name, cost in measure_costs(setting, cells).items():
                    journal.write(cells, name, cost=cost._asdict())
            rows += _rows_of(journal, cells, empty)
            write_csv(config.out / "results.csv", rows, COLUMNS)
    references = sorted({row["reference"] for row in rows if row["reference"]})
    summary = {
        "cells": total + len(refusals),
        "refusals": refusals,
        "references": references,
        "seed": config.seed,
        "versions": run_folder.versions(),
    }
    variance_report.write(config.out, rows, command=command, summary=summary)
    variance_report.print_rows(rows)
    print(f"report and figures: {config.out}")
    return Results(rows, refusals, config.out)


def _rows_of(journal: "_Journal", cells: Set, empty: Row) -> list[Row]:
    """The rows of a set, in order, those of refused estimators too."""
    rows = []
    for name, row in cells.rows.items():
        found = journal.rows_of(cells, name)
        if found is None:
            rows.append(empty | row | {"group": "all"})
            continue
        cost = CostReport(**journal.cost_of(cells, name) or {})
        rows += [with_cost(row, cost) for row in found]
    return rows


class _Journal:
    """What is measured, in a file that a killed run goes on from."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.rows: dict[tuple, list[Row]] = {}
        self.costs: dict[tuple, dict[str, Any]] = {}
        path = out / "metrics.jsonl"
        lines = run_folder.read_rows(out) if path.exists() else []
        run_folder.write_rows(out, lines)  # without one cut short
        for line in lines:
            self._keep(tuple(line["cell"]), line)

    def rows_of(self, cells: Set, name: str) -> list[Row] | None:
        return self.rows.get(self._cell(cells, name))

    def cost_of(self, cells: Set, name: str) -> dict[str, Any] | None:
        return self.costs.get(self._cell(cells, name))

    def write(self, cells: Set, name: str, **found: Any) -> None:
        cell = self._cell(cells, name)
        run_folder.append_row(self.out, {"cell": cell, **found})
        self._keep(cell, found)

    def _keep(self, cell: tuple, found: dict[str, Any]) -> None:
        if "rows" in found:
            self.rows[cell] = found["rows"]
        if "cost" in found:
            self.costs[cell] = found["cost"]

    def _cell(self, cells: Set, name: str) -> tuple:
        return tuple(cells.rows[name][column] for column in CELL)


if __name__ == "__main__":
    run_main(Config, run)
