"""A resumable run that measures cells of gradients and writes them one by one.

Each measurement is a line of metrics.jsonl: the rows of a cell, or the cost of its
gradient. The tables and the report are made from these lines at the end.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmark import variance_report
from experiments.harness import machine, run_folder, run_settings
from experiments.harness.journal import Journal
from experiments.harness.measured_run import measured_run
from experiments.harness.progress import COMPILING, progress_bar
from experiments.harness.result_table import plain, write_csv
from vaejax.benchmark.cells import CellGroup, Point
from vaejax.benchmark.measure import measure_costs, measure_groups
from vaejax.benchmark.numbers import number_of
from vaejax.benchmark.rows import COLUMNS, Row, row_of_line
from vaejax.benchmark.table import EstimatorTable
from vaejax.core import VaejaxError

# The settings that distinguish the lines of several runs.
SETTINGS = ("checkpoint", "model_settings", "seed", "pool", "budget")


class Results(NamedTuple):
    """The table, its lines as in results.csv, and the files' folder."""

    table: EstimatorTable
    rows: list[dict[str, Any]]
    refusals: dict[str, str]  # cell: reason
    out: Path


def measure(
    config: Any,
    work: list[tuple[Point, CellGroup]],
    command: str,
    *,
    seconds: float | None = None,
    timed: bool = True,
) -> Results:
    """Measure the cells of every group that are not measured yet.

    Args:
        config: with draws, seed, out, overwrite and resume.
        work: the groups, each with its point.
        command: that repeats the run, for its report.
        seconds: for all cells together, instead of a number of draws.
        timed: measure what a gradient costs; else evaluations of the decoder only.

    Raises:
        VaejaxError: every cell is refused, before anything is written.
    """
    if not any(group.valid for _, group in work):
        cell, reason = next(iter(_refusals(work[0][1]).items()))
        raise VaejaxError(
            f"every cell is refused, as {cell} ({reason}): choose other estimators, "
            "bounds or numbers of samples"
        )
    with measured_run(config) as journal:
        return _measure(journal, config, work, command, seconds, timed)


def _measure(
    journal: Journal,
    config: Any,
    work: list[tuple[Point, CellGroup]],
    command: str,
    seconds: float | None,
    timed: bool,
) -> Results:
    total = sum(len(group.valid) for _, group in work)
    refusals: dict[str, str] = {}
    for _, group in work:
        refusals |= _refusals(group)
    cells = total + len(refusals)
    print(
        f"{number_of(total, 'cell')}, {len(refusals)} refused, "
        + (f"{config.draws} draws each" if seconds is None else f"{seconds:.0f} s")
        + f" -> {config.out}"
    )
    settings = run_settings.settings_of(config)
    fingerprint = json.dumps(settings, sort_keys=True)
    of_run = {name: plain(settings.get(name)) or None for name in SETTINGS}
    of_run |= {
        "seed": config.seed,
        "config_hash": hashlib.sha256(fingerprint.encode()).hexdigest()[:12],
    }
    rows: list[Row] = []
    groups = []
    for point, group in work:
        if seconds is not None:
            point = point._replace(seconds=seconds / max(1, total))
        groups.append((point, group, _missing(journal, group, "rows")))
    with (
        progress_bar("gradients", total, "cells") as update,
        contextlib.closing(measure_groups(groups)) as measurements,
    ):
        update(0, COMPILING)
        done = 0
        for (point, group, _), measured in zip(groups, measurements, strict=True):
            for name, found in measured:
                journal.write(group.rows[name].cell, rows=[row.line() for row in found])
                done += 1
                update(done, name)
            group = group.refusing(_rows_of(journal, group))
            refusals |= _refusals(group)
            if _missing(journal, group, "cost"):
                update(done, "costs")
                for name, cost in measure_costs(point, group, timed).items():
                    journal.write(group.rows[name].cell, cost=cost._asdict())
            machine.forget_programs()
            rows += _rows_of(journal, group)
            lines = [row.line() | of_run for row in rows]
            write_csv(config.out / "results.csv", lines, (*COLUMNS, *of_run))
    references = sorted({row.reference for row in rows if row.reference})
    summary = {
        "cells": cells,
        "refusals": refusals,
        "references": references,
        "seed": config.seed,
        "versions": run_folder.versions(),
    }
    variance_report.write(config.out, rows, of_run, command=command, summary=summary)
    variance_report.print_rows(rows, of_run["budget"])
    print(f"report and figures: {config.out}")
    return Results(EstimatorTable(tuple(rows)), lines, refusals, config.out)


def _refusals(group: CellGroup) -> dict[str, str]:
    """The reasons of a group's refused estimators, by the cell in words."""
    return {
        f"{name} x {row.cell.bound} on {row.cell.model}, "
        f"K = {row.cell.num_samples}": row.verdict.reason
        for name, row in group.rows.items()
        if row.refused
    }


def _rows_of(journal: Journal, group: CellGroup) -> list[Row]:
    """The rows of a group, in order, including those of refused estimators."""
    rows = []
    for row in group.rows.values():
        found = journal.read(row.cell, "rows")
        if found is None:
            rows.append(row)
            continue
        cost = journal.read(row.cell, "cost") or {}
        rows += [
            row_of_line(line | cost)._replace(trained=row.trained) for line in found
        ]
    return rows


def _missing(journal: Journal, group: CellGroup, what: str) -> list[str]:
    """The estimators whose `what` the journal lacks."""
    return [n for n in group.valid if journal.read(group.rows[n].cell, what) is None]
