"""The progress bar of long calls, in a notebook or a terminal."""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

COMPILING = "compiling"  # the note of a call whose first unit takes longer than others


class Update(Protocol):
    """A function that sets the number of units that are done, and maybe a new note."""

    def __call__(self, done: int | float, note: str | None = None) -> None:
        """Move the bar."""


@contextlib.contextmanager
def bar(
    title: str,
    total: int | float,
    unit: str,
    *,
    shown: bool = True,
    note: str = "",
    console: Console | None = None,
) -> Iterator[Update]:
    """Show a bar of `total` units with the time left, if `shown`."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not shown,
    )
    with progress:
        task = progress.add_task(title, total=total, note=note)

        def update(done: int | float, note: str | None = None) -> None:
            if note is not None:
                progress.update(task, note=note)
            progress.update(task, completed=done)

        yield update
