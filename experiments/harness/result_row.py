"""A row of an experiment's results: a typed record, and its line of a file."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self


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
        known = {name: value for name, value in found.items() if value is not None}
        return cls(**known)

    def line(self) -> dict[str, Any]:
        """The values by column."""
        values = zip(self.columns(), vars(self).values(), strict=True)
        return {
            column: None if isinstance(v, float) and not math.isfinite(v) else v
            for column, v in values
        }

    def get(self, column: str) -> Any:
        """The value of a column, None if it is unknown."""
        return self.line().get(column)
