"""A resumable run that measures cells, alone in its folder, kept cell by cell.

    with measured_run(config) as run:
        rows = run.rows("gradients", "cells", cells, measure, SnrRow)

`measure(cell)` is called for the cells that no earlier run has measured. Its rows
are a line of metrics.jsonl at once, so that a killed run loses one cell at most.
"""

import contextlib
import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from experiments.harness import run_folder
from experiments.harness.journal import Journal
from experiments.harness.progress import COMPILING, progress_bar
from experiments.harness.result_row import ResultRow
from experiments.harness.result_table import write_csv

Cell = TypeVar("Cell", bound=tuple[Hashable, ...])
Measured = TypeVar("Measured", bound=ResultRow)


class MeasuredRun(Journal):
    """The journal of a run, and its loop over cells."""

    def rows(
        self,
        title: str,
        unit: str,
        cells: Collection[Cell],
        measure: Callable[[Cell], Sequence[Measured]],
        kind: type[Measured],
        of_run: Mapping[str, Any] = MappingProxyType({}),
    ) -> list[Measured]:
        """The rows of every cell, in order, measured now or earlier.

        Args:
            title: of the progress bar.
            unit: that it counts.
            cells: of one unit each, or a dict of the units that each one is.
            measure: the rows of a cell that is not in the journal.
            kind: of the rows; results.csv is written anew after every cell.
            of_run: columns of results.csv before those of the rows, the same in all.
        """
        units = dict.fromkeys(cells, 1.0) | (cells if isinstance(cells, dict) else {})
        rows: list[Measured] = []
        done = 0.0
        with progress_bar(title, math.fsum(units.values()), unit) as update:
            update(0, COMPILING)
            for cell, size in units.items():
                if self.read(cell, "rows") is None:
                    self.write(cell, rows=[row.line() for row in measure(cell)])
                rows += map(kind.of_line, self.read(cell, "rows"))
                lines = [{**of_run, **row.line()} for row in rows]
                columns = (*of_run, *kind.columns())
                write_csv(self.out / "results.csv", lines, columns)
                done += size
                update(done, ", ".join(map(str, cell)))
        return rows


@contextlib.contextmanager
def measured_run(config: Any, **options: Any) -> Iterator[MeasuredRun]:
    """Reserve the folder of `config` for this run; yield its journal.

    Args:
        config: with `out`, `overwrite` and `resume`.
        options: further ones of `run_folder.open_run`.

    Raises:
        VaejaxError: see `run_folder.open_run`.
    """
    with run_folder.open_run(
        config.out,
        config,
        overwrite=config.overwrite,
        resume=config.resume,
        **options,
    ):
        yield MeasuredRun(config.out)
