"""A run that measures cells of gradients: written one by one, and resumed.

What is measured is a line of metrics.jsonl: the rows of a cell, or what its gradient
costs. The tables and the report are made of them at the end.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmark import variance_report
from experiments.benchmark.gradient_cells import (
    CELL,
    COLUMNS,
    SETTINGS,
    Row,
    Set,
    Setting,
    valid,
)
from experiments.benchmark.gradient_measures import (
    measure_costs,
    measure_sets,
    with_cost,
)
from experiments.harness import machine, run_folder, run_settings
from experiments.harness.cli import progress_bar
from experiments.harness.journal import Journal
from experiments.harness.result_table import plain, write_csv
from vaejax.benchmark.cost import CostReport


class Results(NamedTuple):
    """A row per cell and parameter group, as in results.csv, and the files' folder."""

    rows: list[Row]
    refusals: dict[str, str]  # cell: reason
    out: Path


def measure(
    config: Any,
    work: list[tuple[Setting, Set]],
    command: str,
    *,
    seconds: float | None = None,
    timed: bool = True,
) -> Results:
    """Measure the cells of every set, or go on with those that are not measured.

    Args:
        config: with draws, seed, out, overwrite and resume.
        work: the sets, each with its setting.
        command: that repeats the run, for its report.
        seconds: for all cells together, instead of a number of draws.
        timed: measure what a gradient costs; else evaluations of the decoder only.
    """
    with run_folder.open_run(
        config.out, config, overwrite=config.overwrite, resume=config.resume
    ):
        return _measure(config, work, command, seconds, timed)


def _measure(
    config: Any,
    work: list[tuple[Setting, Set]],
    command: str,
    seconds: float | None,
    timed: bool,
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
    settings = run_settings.settings_of(config)
    fingerprint = json.dumps(settings, sort_keys=True)
    empty = (
        dict.fromkeys(COLUMNS)
        | {name: plain(settings.get(name)) or None for name in SETTINGS}
        | {
            "seed": config.seed,
            "reference_error_asked": config.reference_error,
            "config_hash": hashlib.sha256(fingerprint.encode()).hexdigest()[:12],
        }
    )
    journal = Journal(config.out)
    rows: list[Row] = []
    sets = []
    for setting, cells in work:
        if seconds is not None:
            setting = setting._replace(seconds=seconds / max(1, total))
        sets.append((setting, cells, _missing(journal, cells, "rows")))
    with (
        progress_bar("gradients", total, "cells") as update,
        contextlib.closing(measure_sets(sets)) as measurements,
    ):
        done = 0
        for (setting, cells, _), measured in zip(sets, measurements, strict=True):
            for name, found in measured:
                journal.write(_cell(cells, name), rows=[empty | row for row in found])
                done += 1
                update(done, name)
            if _missing(journal, cells, "cost"):
                for name, cost in measure_costs(setting, cells, timed).items():
                    journal.write(_cell(cells, name), cost=cost._asdict())
            machine.forget_programs()
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


def _rows_of(journal: Journal, cells: Set, empty: Row) -> list[Row]:
    """The rows of a set, in order, those of refused estimators too."""
    rows = []
    for name, row in cells.rows.items():
        found = journal.read(_cell(cells, name), "rows")
        if found is None:
            rows.append(empty | row | {"group": "all"})
            continue
        cost = CostReport(**journal.read(_cell(cells, name), "cost"))
        rows += [with_cost(row, cost) for row in found]
    return rows


def _missing(journal: Journal, cells: Set, what: str) -> list[str]:
    """The estimators of which the journal lacks it."""
    return [n for n in valid(cells) if journal.read(_cell(cells, n), what) is None]


def _cell(cells: Set, name: str) -> tuple[Any, ...]:
    return tuple(cells.rows[name][column] for column in CELL)
