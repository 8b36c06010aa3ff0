"""A measurement of a comparison: a typed record, and its line of results.csv.

In a record, a statistic that the draws do not show is NaN, and a part that was not
asked for is None. In a line, both are None, and so an empty field of the file.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vaejax.benchmark.cost import CostReport
from vaejax.benchmark.report import GroupReport
from vaejax.benchmark.split import VarianceSplit
from vaejax.core import Verdict


class Cell(NamedTuple):
    """The identity of a measurement, besides the parameter group."""

    model: str
    bound: str
    estimator: str  # the name, with the settings that are not the defaults
    num_samples: int  # K
    num_outer: int  # M, independent estimates that a gradient is the mean of
    batch_size: int  # observations that a gradient is the mean over
    step: int | None = None  # training step of the parameters


class Row(NamedTuple):
    """One cell and parameter group; a refused cell is one row of the group "all"."""

    cell: Cell
    beta: float  # the weight of the KL divergence in the bound
    verdict: Verdict
    reference_error_asked: float  # relative to the norm of the reference
    group: str = "all"
    draws: int | None = None
    reference: str | None = None  # the true gradient's source, in words
    reference_error: float | None = None  # relative to the norm; None if unknown
    report: GroupReport | None = None
    split: VarianceSplit | None = None
    cost: CostReport | None = None
    # XLA's, for the draws and the split of the cell; not for a reference or a timing.
    compile_seconds: float | None = None
    trained: bool = True  # the parameters may be of a training run; not a column

    @property
    def refused(self) -> bool:
        """True if the estimator is not valid here, and nothing was measured."""
        return self.verdict.status == "refused"

    def get(self, column: str) -> Any:
        """The value of a column, None if it is unknown: a statistic by its name."""
        return self.line().get(column)

    def line(self) -> dict[str, Any]:
        """The values of `COLUMNS`: all flat, None for unknown values."""
        found = dict.fromkeys(COLUMNS)
        found |= self.cell._asdict() | self.verdict._asdict()
        found |= {name: getattr(self, name) for name in OWN}
        if self.report is not None:
            found |= self.report._asdict()
        if self.split is not None:
            found |= zip(SPLIT_COLUMNS, self.split, strict=True)
        if self.cost is not None:
            found |= self.cost._asdict()
        if self.report is not None and self.cost is not None:
            found |= worth(self.report, self.cost)
        return {
            name: None if _is_nan(value) else value for name, value in found.items()
        }


def row_of_line(line: Mapping[str, Any]) -> Row:
    """The record of a line, as `Row.line` gives it and a file or journal keeps it."""

    def part(kind: Any, columns: Iterable[str]) -> Any:
        values = [line[column] for column in columns]
        if all(value is None for value in values):
            return None
        return kind(*(math.nan if value is None else value for value in values))

    return Row(
        cell=Cell(**{name: line[name] for name in Cell._fields}),
        verdict=Verdict(line["status"], line["reason"]),
        report=part(GroupReport, GroupReport._fields),
        split=part(VarianceSplit, SPLIT_COLUMNS),
        cost=part(CostReport, CostReport._fields),
        **{name: line[name] for name in OWN},
    )


def worth(report: GroupReport, cost: CostReport) -> dict[str, float]:
    """The variance times the cost of a gradient: less is better at equal cost."""
    variance, error = report.variance, report.variance_stderr
    seconds, evaluations = cost.seconds_per_gradient, cost.decoder_evaluations
    return {
        "work_normalized_variance": variance * seconds,
        "work_normalized_variance_stderr": math.hypot(
            error * seconds, variance * cost.seconds_stderr
        ),
        "evaluation_normalized_variance": variance * evaluations,
        "evaluation_normalized_variance_stderr": error * evaluations,
    }


def places(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each place (model, M and batch size), by its name."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        cell = row.cell
        name = f"{cell.model}, M = {cell.num_outer}, batch of {cell.batch_size}"
        found.setdefault(name, []).append(row)
    return found


def of_whole_groups(rows: Sequence[Row]) -> list[Row]:
    """The measured rows of the parameter groups, without those of single layers."""
    return [row for row in rows if not row.refused and "/" not in row.group]


def at_last_step(rows: Sequence[Row]) -> list[Row]:
    """The rows of the last checkpoint, or all where there is none."""
    last = max((r.cell.step for r in rows if r.cell.step is not None), default=None)
    return [row for row in rows if row.cell.step == last]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


SPLIT_COLUMNS = tuple(f"variance_{name}" for name in VarianceSplit._fields)
# The fields of a row that are columns themselves.
OWN = (
    *("beta", "group", "draws"),
    *("reference", "reference_error", "reference_error_asked"),
    "compile_seconds",
)
COLUMNS = (
    *Cell._fields,
    *("beta", "group", *Verdict._fields, *OWN[2:-1]),
    *GroupReport._fields,
    *SPLIT_COLUMNS,
    *CostReport._fields,
    *("work_normalized_variance", "work_normalized_variance_stderr"),
    *("evaluation_normalized_variance", "evaluation_normalized_variance_stderr"),
    "compile_seconds",
)
