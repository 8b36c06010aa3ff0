"""The table of a comparison of estimators, which shows, draws and writes itself.

Only what draws or shows a table imports the library's figures, when it is called.
"""

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaejax.benchmark.findings import Finding, findings
from vaejax.benchmark.numbers import estimate
from vaejax.benchmark.rows import COLUMNS, Row, of_whole_groups, row_of_line
from vaejax.benchmark.statistics import Line, in_errors
from vaejax.core import VaejaxError
from vaejax.core.files import write_whole

if TYPE_CHECKING:
    import pyarrow

    from vaejax.plotting import Picture

TEXTS = ("model", "bound", "estimator", "group", "status", "reason", "reference")
SETTINGS = {  # the fields of a cell, in the order of a table's columns
    **{"model": "model", "num_outer": "M", "batch_size": "batch", "step": "step"},
    **{"bound": "bound", "estimator": "estimator", "num_samples": "K"},
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EstimatorTable:
    """A row per cell and parameter group; a refused cell is one row."""

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        """The rows, cell by cell."""
        return iter(self.rows)

    def __getitem__(self, number: int) -> Row:
        """The row of this number, from 0."""
        return self.rows[number]

    def select(self, **wanted: Any) -> "EstimatorTable":
        """The rows whose columns have these values: `select(estimator="dreg")`.

        Raises:
            VaejaxError: an unknown column, or no row left.
        """
        if unknown := sorted(wanted.keys() - set(COLUMNS)):
            raise VaejaxError(
                f"the rows have no column {unknown[0]!r}: use one of "
                f"{', '.join(COLUMNS)}"
            )
        rows = tuple(
            row
            for row in self.rows
            if all(row.get(name) == value for name, value in wanted.items())
        )
        if not rows:
            asked = " and ".join(f"{n} {value!r}" for n, value in wanted.items())
            raise VaejaxError(f"no row has {asked}: ask for values that the rows hold")
        return EstimatorTable(rows)

    def lines(self) -> list[dict[str, Any]]:
        """The rows as flat mappings of `COLUMNS`, as results.csv holds them."""
        return [row.line() for row in self.rows]

    def findings(self) -> list[Finding]:
        """The findings in words, which print as sentences: answers, then cautions."""
        return findings(self.rows)

    def plot(self, figure: str = "variance") -> "Picture":
        """One of the report's figures, by name: variance, bias, frontier, map, ...

        Raises:
            VaejaxError: there is no such figure of these rows.
        """
        from vaejax.plotting.comparison import comparison_figures

        figures = comparison_figures(self.rows)
        if figure not in figures:
            raise VaejaxError(
                f"there is no figure {figure!r} of these rows: use one of "
                f"{', '.join(figures)}"
            )
        return figures[figure]()

    def to_arrow(self) -> "pyarrow.Table":
        """The lines as an Arrow table; an unknown statistic is null."""
        return to_arrow(self.lines(), COLUMNS)

    def to_pandas(self) -> Any:
        """The lines as a data frame.

        Raises:
            VaejaxError: pandas is not installed.
        """
        if find_spec("pandas") is None:
            raise VaejaxError(
                "to_pandas needs pandas: install it (pip install pandas), or use "
                "to_arrow()"
            )
        return self.to_arrow().to_pandas()

    def write(self, path: Path | str) -> Path:
        """Write the lines as CSV or Parquet, by the suffix of the path.

        Raises:
            VaejaxError: another suffix.
        """
        path = Path(path)
        if path.suffix == ".csv":
            return write_whole(path, csv_of(self.lines(), COLUMNS))
        if path.suffix == ".parquet":
            return write_whole(path, parquet_of(self.lines(), COLUMNS))
        raise VaejaxError(f"{path} is neither .csv nor .parquet: use one of these")

    @classmethod
    def read(cls, path: Path | str) -> "EstimatorTable":
        """The table that `write`, or a run of the benchmark, wrote as CSV or Parquet.

        Raises:
            VaejaxError: another suffix, or columns that are not those of a table.
        """
        import pyarrow.csv
        import pyarrow.parquet

        path = Path(path)
        if path.suffix == ".csv":
            texts = dict.fromkeys(TEXTS, pyarrow.string())
            options = pyarrow.csv.ConvertOptions(column_types=texts)
            table = pyarrow.csv.read_csv(path, convert_options=options)
        elif path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
        else:
            raise VaejaxError(f"{path} is neither .csv nor .parquet: use one of these")
        if missing := sorted(set(COLUMNS) - set(table.column_names)):
            raise VaejaxError(
                f"{path} has no column {missing[0]!r}: give a table that "
                "EstimatorTable.write or a run of experiments.estimator_variance wrote"
            )
        lines = table.to_pylist()  # a CSV file has no text for an unknown reference
        known = [line | {"reference": line["reference"] or None} for line in lines]
        return cls(tuple(map(row_of_line, known)))

    def __repr__(self) -> str:
        """The table as text."""
        return as_text(self._shown())

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        return as_html(self._shown())

    def _shown(self) -> dict[str, list[str]]:
        """The columns that fit a screen, as text."""
        rows = [*of_whole_groups(self.rows), *(r for r in self.rows if r.refused)]
        columns = {
            label: [str(getattr(row.cell, name)) for row in rows]
            for name, label in settings_shown(rows).items()
        }
        columns["group"] = [row.group for row in rows]
        columns["status"] = [row.verdict.status for row in rows]
        columns["bias / error"] = [bias_in_errors(row) for row in rows]
        for label, name in (
            ("variance", "variance"),
            ("rms SNR", "rms_snr"),
            ("cosine", "cosine"),
        ):
            columns[label] = [estimate(row, name) for row in rows]
        columns["µs"] = [microseconds(row) for row in rows]
        return {name: cells for name, cells in columns.items() if any(cells)}


def as_text(columns: Mapping[str, Sequence[str]]) -> str:
    """Columns of text as aligned lines, under their names."""
    widths = [max(map(len, (name, *cells))) for name, cells in columns.items()]
    texts = [columns.keys(), *zip(*columns.values(), strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in texts)


def as_html(columns: Mapping[str, Sequence[str]]) -> str:
    """Columns of text as a table of a notebook."""
    from vaejax.plotting.tables import Table, render

    return render(Table(list(columns), list(zip(*columns.values(), strict=True))))


def settings_shown(rows: Sequence[Row]) -> dict[str, str]:
    """The fields of the cells that a table shows, with their labels.

    A setting that is the same in all cells has no column.
    """
    always = ("bound", "estimator", "num_samples")
    return {
        name: label
        for name, label in SETTINGS.items()
        if name in always or len({getattr(row.cell, name) for row in rows}) > 1
    }


def bias_in_errors(row: Row) -> str:
    """The bias in standard errors of the mean gradient, "" if it is unknown."""
    value = in_errors(row)
    return "" if value is None else f"{value:.1f}"


def microseconds(row: Row) -> str:
    """The time of a gradient, "" if it was not measured."""
    seconds = row.get("seconds_per_gradient")
    return f"{1e6 * seconds:,.0f}" if seconds else ""


def csv_of(lines: Sequence[Line], columns: Sequence[str]) -> bytes:
    """The lines as a CSV file; an unknown value is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: line.get(name) for name in columns} for line in lines)
    return text.getvalue().encode("utf-8", "backslashreplace")


def to_arrow(
    lines: list[dict[str, Any]],
    columns: tuple[str, ...],
    texts: tuple[str, ...] = TEXTS,
) -> "pyarrow.Table":
    """The lines as an Arrow table; an unknown statistic keeps its column a number."""
    import pyarrow

    arrays = {}
    for name in columns:
        kind = pyarrow.string() if name in texts else None
        array = pyarrow.array([line.get(name) for line in lines], kind)
        if array.null_count == len(array) and kind is None:
            array = array.cast(pyarrow.float64())
        arrays[name] = array
    return pyarrow.table(arrays)


def parquet_of(
    lines: list[dict[str, Any]],
    columns: tuple[str, ...],
    texts: tuple[str, ...] = TEXTS,
) -> bytes:
    """The lines as a Parquet file."""
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(to_arrow(lines, columns, texts), buffer)
    return buffer.getvalue()
