"""A row of an experiment's results: a typed record, and its line of a file."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from vaejax.benchmark.numbers import known


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResultRow:
    """A row of results.csv: a field per column.

    An unknown value is the field's default, NaN for a number, and None in the line. A
    column whose name is no identifier is in the field's metadata, as `column`.
    """

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The columns, in the order of the fields."""
        return tuple(f.metadata.get("column", f.name) for f in dataclasses.fields(cls))

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> Self:
        """The record of a line, as the journal keeps it."""
        names = zip(dataclasses.fields(cls), cls.columns(), strict=True)
        found = {field.name: line.get(column) for field, column in names}
        return cls(**{name: v for name, v in found.items() if v is not None})

    def line(self) -> dict[str, Any]:
        """The values by column."""
        values = zip(self.columns(), vars(self).values(), strict=True)
        return known(dict(values))

    def get(self, column: str) -> Any:
        """The value of a column, None if it is unknown."""
        return self.line().get(column)
