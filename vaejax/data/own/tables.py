"""Tables from .csv, .parquet and .arrow files and data frames, read by pyarrow.

Numbers and booleans are taken as they are, text as the numbers of its categories in
alphabetical order; an empty cell is NaN.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from vaejax.core import kind_of
from vaejax.core.ranges import shown
from vaejax.data.own.raw import Asked, Raw, expect_named, without
from vaejax.data.types import Column, DataError

MOST_CATEGORIES = 100  # of a column of text


def read_csv(path: Path, asked: Asked) -> Raw:
    """Read a table whose first line names the columns."""
    from pyarrow import csv

    options = csv.ConvertOptions(strings_can_be_null=True)
    if asked.missing_value is not None:
        options.null_values = [*options.null_values, str(asked.missing_value)]
    table = csv.read_csv(path, convert_options=options)
    if all(map(_is_number, table.column_names)):
        raise DataError(
            f"the first line of {path.name}, {shown(','.join(table.column_names))}, "
            "holds numbers: begin with a line of the columns' names"
        )
    return from_table(table, path.name, asked)


def read_parquet(path: Path, asked: Asked) -> Raw:
    """Read a table of Parquet."""
    from pyarrow import parquet

    return from_table(parquet.ParquetFile(path).read(), path.name, asked)


def read_arrow(path: Path, asked: Asked) -> Raw:
    """Read a table of Arrow's IPC, in the form of a file or of a stream."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            table = pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            table = pa.ipc.open_stream(source).read_all()
        return from_table(table, path.name, asked)


def from_table(table: Any, name: str, asked: Asked) -> Raw:
    """The examples of a table of pyarrow, one in each row.

    Raises:
        DataError: a column that is named and not there, or twice there; a column of no
            numbers and no text, or of too many texts; no columns.
    """
    names = table.column_names
    for one in names:
        if names.count(one) > 1:
            raise DataError(f"{name} has two columns {one!r}: rename one of them")
    for wanted in (asked.label_column, asked.group_column):
        if wanted is not None:
            expect_named(name, "column", wanted, names)
    own = [n for n in names if n not in (asked.label_column, asked.group_column)]
    if not (own and len(table)):
        raise DataError(
            f"{name} has {len(table)} rows of {len(own)} columns besides labels and "
            "groups: give at least one row and one column"
        )
    read = [_column(name, table[one], one, asked.missing_value) for one in own]

    def values(column: str | None) -> Shaped[np.ndarray, " N"] | None:
        return None if column is None else np.array(table[column].to_pylist(), object)

    return Raw(
        np.stack([numbers for numbers, _ in read], 1),
        values(asked.label_column),
        values(asked.group_column),
        tuple(column for _, column in read),
    )


def _column(
    file: str, values: Any, name: str, missing: float | str | None
) -> tuple[Float[np.ndarray, " N"], Column]:
    """The numbers of a column, NaN where one is missing, and what they are."""
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind, types = values.type, pa.types
    if any(f(kind) for f in (types.is_string, types.is_large_string)):
        return _categories(file, values.to_pylist(), name, missing)
    if types.is_boolean(kind):
        values = values.cast(pa.uint8())
    elif not any(
        f(kind) for f in (types.is_integer, types.is_floating, types.is_decimal)
    ):
        raise DataError(
            f"column {name!r} of {file} holds {kind}: give numbers, text or booleans, "
            "or leave it out of the file"
        )
    numbers = without(values.cast(pa.float64()).to_numpy(), missing)
    return numbers, Column(name, kind_of(numbers, levels=None))


def _categories(
    file: str, texts: list[str | None], name: str, missing: float | str | None
) -> tuple[Float[np.ndarray, " N"], Column]:
    known = sorted({text for text in texts if text is not None} - {missing})
    others = [text for text in known if not _is_number(text)]
    if others and len(others) < len(known) / 2:
        raise DataError(
            f"column {name!r} of {file} holds {shown(others[0])} among numbers, in row "
            f"{texts.index(others[0]) + 1}: correct it, or give it as the "
            f"missing_value, as in --missing-value {others[0]}"
        )
    if len(known) > MOST_CATEGORIES:
        raise DataError(
            f"column {name!r} of {file} holds {len(known):,} different texts, such as "
            f"{shown(known[0])}: leave it out of the file, or name it as the label or "
            f"the group; categories are at most {MOST_CATEGORIES}"
        )
    number: dict[str | None, float] = {text: float(i) for i, text in enumerate(known)}
    numbers = np.array([number.get(text, np.nan) for text in texts])
    return numbers, Column(name, "one_hot", tuple(known))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
