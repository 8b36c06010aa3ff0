"""The measurements of a run, in a file from which a killed run resumes."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from experiments.harness import metric_rows, run_folder
from experiments.harness.json_files import read_lines
from vaejax.benchmark.candidates import Record


class Journal(Record):
    """Named results by cell; each `write` adds a line to metrics.jsonl at once.

    The first `write` removes the run that --overwrite replaces.

    A cell is a tuple of plain values. A truncated line is dropped, and so is a damaged
    line, with a message: the cell counts as not measured.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        super().__init__()
        path = out / "metrics.jsonl"
        lines, problems = read_lines(path, _is_entry) if path.exists() else ([], [])
        for problem in problems:
            print(f"{problem}: the line is removed, and its cell is measured again")
        metric_rows.write_rows(out, lines)
        for line in lines:
            super().write(tuple(line.pop("cell")), **line)

    def write(self, cell: tuple[Hashable, ...], /, **found: Any) -> None:
        """Write results of a cell."""
        metric_rows.append_row(self.out, {"cell": cell, **found})
        run_folder.saved(self.out)
        super().write(cell, **found)


def _is_entry(line: Any) -> bool:
    """True if a line names a cell, and its results have valid types."""
    if not isinstance(line, dict) or not isinstance(line.get("cell"), list):
        return False
    rows = line.get("rows", [])
    return (
        not any(isinstance(value, dict | list) for value in line["cell"])
        and isinstance(rows, list)
        and all(isinstance(row, dict) for row in rows)
        and isinstance(line.get("cost", {}), dict)
        and isinstance(line.get("folds", []), list)
    )
