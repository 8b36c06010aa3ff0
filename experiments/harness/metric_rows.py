"""The lines of a run's metrics.jsonl: a line per epoch, or per cell of a benchmark."""

import json
import os
from pathlib import Path
from typing import Any

from experiments.harness import run_folder, run_lock
from experiments.harness.json_files import read_lines

FIGURES = ("train", "validation")  # the entries with numbers in a line of metrics.jsonl


def read_rows(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl, one per epoch; damaged lines are reported."""
    rows, problems = read_lines(out / "metrics.jsonl", is_row)
    for problem in problems:
        print(f"{problem}: it is left out")
    return rows


def is_row(found: Any) -> bool:
    """True for a possible line of metrics.jsonl: figures, if any, are of an epoch."""
    if not isinstance(found, dict):
        return False
    figures = [found[name] for name in FIGURES if found.get(name) is not None]
    return all(map(_are_numbers, figures)) and (
        not figures or type(found.get("epoch")) is int
    )


def _are_numbers(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(value, int | float | None) for value in found.values()
    )


def write_rows(out: Path, rows: list[dict[str, Any]]) -> None:
    """Replace metrics.jsonl, for example by the epochs up to a checkpoint."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    run_folder.write_text(out / "metrics.jsonl", lines)


def append_row(out: Path, row: dict[str, Any]) -> None:
    """Append a row to metrics.jsonl."""
    run_lock.check_held(out)
    path = out / "metrics.jsonl"
    with (
        run_folder.write_errors_explained(path),
        path.open("r+") as lines,
    ):  # fails if it was removed
        lines.seek(0, os.SEEK_END)
        lines.write(json.dumps(row) + "\n")
