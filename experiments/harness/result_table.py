"""The results of several runs as one table: in a file, and on the terminal."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from experiments.harness import run_folder
from experiments.harness.terminal import console
from vaejax.benchmark.statistics import Line
from vaejax.benchmark.table import csv_of

BETWEEN = 3  # characters that a column needs besides its text


def numbers_of(results: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a results.json by name: {"test.log_likelihood": -91.4}."""
    found: dict[str, float] = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            found |= numbers_of(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + name] = value
    return found


def columns_of(rows: Sequence[Line]) -> list[str]:
    """The names in all rows, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def differing(rows: Sequence[Line]) -> list[str]:
    """The columns in which some rows differ."""
    return [
        name
        for name in columns_of(rows)
        if any(row.get(name) != rows[0].get(name) for row in rows)
    ]


def plain(value: Any) -> Any:
    """The value, with several words joined to one text, and text as valid UTF-8."""
    if isinstance(value, tuple | list):
        value = " ".join(map(str, value))
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def write_csv(path: Path, rows: Sequence[Line], columns: Sequence[str]) -> None:
    """Write the rows, one per line; unknown values are empty."""
    lines = [{name: plain(value) for name, value in row.items()} for row in rows]
    run_folder.write_text(path, csv_of(lines, columns).decode())


def print_rows(
    title: str, rows: Sequence[Line], always: Sequence[str], more: Sequence[str] = ()
) -> None:
    """Print the columns `always`, and as many `more` of them as fit the terminal.

    A column that is empty is left out; a heading is broken at its dots, and a text at
    its spaces.
    """
    terminal = console()
    shown = [name for name in always if _is_known(rows, name)]
    room = terminal.width - sum(_longest(rows, name, str.splitlines) for name in shown)
    for name in more:
        room -= _longest(rows, name, str.splitlines) * _is_known(rows, name)
        if room < 0:
            break
        shown += [name] * _is_known(rows, name)
    words = {name: _longest(rows, name, str.split) for name in shown}
    while sum(words.values()) > terminal.width and max(words.values()) > 1:
        words[max(words, key=lambda name: words[name])] -= 1
    table = Table(title=title, box=box.SIMPLE, min_width=len(title))
    for name in shown:
        # Text without room is folded, and never cut off.
        numbers = all(isinstance(row.get(name, 0), int | float) for row in rows)
        table.add_column(
            _heading(name),
            justify="right" if numbers else "left",
            overflow="fold",
            min_width=words[name] - BETWEEN,
        )
    for row in rows:
        table.add_row(*(_text(row.get(name)) for name in shown))
    terminal.print(table)


def _is_known(rows: Sequence[Line], name: str) -> bool:
    return any(_text(row.get(name)) for row in rows)


def _longest(rows: Sequence[Line], name: str, parts: Callable[[str], list[str]]) -> int:
    """The room of a column for the longest part of its texts."""
    texts = [_heading(name), *(_text(row.get(name)) for row in rows)]
    return BETWEEN + max(len(part) for text in texts for part in parts(text))


def _heading(name: str) -> str:
    return name.replace(".", ".\n")


def _text(value: Any) -> str:
    if value is None:
        return ""
    value = plain(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
