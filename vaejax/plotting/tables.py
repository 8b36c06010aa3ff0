"""A table as HTML: numbers aligned, rounded alike within a column, and sortable."""

import html
import math
import re
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

from vaejax.benchmark.numbers import short
from vaejax.plotting.style import PlottingError, typeset

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
LONG = 40  # letters of a text beyond which it is broken into lines
DIGITS = 3  # the fewest significant digits of the smallest number in a column
LEADING_NUMBER = re.compile(
    r"[-+]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?([eE][-+]?\d+)?(?![\w.]|,\d)"
)


class Table(NamedTuple):
    """Rows under named columns; a column of numbers is aligned and sorts as such.

    A cell is text, a number or None (missing, as NaN is). Text that begins with a
    number ("-86.3 ± 0.1", "1,234") counts as that number where every cell of its column
    does.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


def render(table: Table) -> str:
    """The table as HTML, everything escaped.

    Raises:
        PlottingError: a row has not as many cells as there are columns.
    """
    for row in table.rows:
        if len(row) != len(table.columns):
            raise PlottingError(
                f"a row of {len(row)} cells under {len(table.columns)} columns "
                f"{list(table.columns)}: give every row one cell per column"
            )
    head, columns = [], []
    for i, name in enumerate(table.columns):
        cells = [row[i] for row in table.rows]
        keys = [_sort_key(cell) for cell in cells]
        numeric = any(keys) and None not in keys
        texts = _texts(cells)
        kind = ""
        if numeric:
            kind = ' class="number"'
        elif max(map(len, texts), default=0) > LONG:
            kind = ' class="long"'
        head.append(
            f'<th scope="col"{kind}>'
            f'<button type="button">{html.escape(str(name))}</button></th>'
        )
        columns.append(
            [
                f'<td{kind} data-key="{html.escape(str(key))}">{html.escape(text)}</td>'
                for key, text in zip(keys if numeric else texts, texts, strict=True)
            ]
        )
    body = "\n".join(
        f"<tr>{''.join(cells)}</tr>" for cells in zip(*columns, strict=True)
    )
    caption = html.escape(table.caption)
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        '<div class="wide table" tabindex="0"><table>\n'
        f"<thead><tr>{''.join(head)}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div></figure>"
    )


def _sort_key(cell: Any) -> str | None:
    """The number that a cell sorts by: "" if it is missing, None if it is text."""
    if _missing(cell):
        return ""
    if _is_number(cell):
        return repr(float(cell)).replace("inf", "Infinity")
    leading = LEADING_NUMBER.match(str(cell).replace(MINUS, "-"))
    return leading.group().replace(",", "") if leading else None


def _texts(cells: list[Any]) -> list[str]:
    """The cells as text: the same decimals down a column, unless it spans decades.

    Those of a column that spans decades have the same number of significant digits.
    """
    sizes = [abs(float(c)) for c in cells if _is_number(c) and not _whole(c)]
    sizes = [size for size in sizes if 0 < size < math.inf]
    spread = bool(sizes) and (
        max(sizes) / min(sizes) >= 1e3 or max(sizes) >= 1e6 or min(sizes) < 1e-4
    )
    decimals = 0
    if sizes and not spread:
        decimals = max(0, DIGITS - 1 - math.floor(math.log10(min(sizes))))
        decimals = max(decimals, 2 if max(sizes) < 1000 else 0)

    def text(cell: Any) -> str:
        if _missing(cell):
            return MISSING
        if not _is_number(cell):
            return str(cell)
        if _whole(cell):
            return f"{int(cell):,}"
        if spread or math.isinf(cell):
            return short(cell, DIGITS)
        return f"{float(cell):,.{decimals}f}"

    return [typeset(text(cell)) for cell in cells]


def _is_number(cell: Any) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool)


def _whole(cell: Any) -> bool:
    return _is_number(cell) and hasattr(cell, "__index__")


def _missing(cell: Any) -> bool:
    return cell is None or cell == "" or (_is_number(cell) and math.isnan(cell))
