"""The progress bar of `fit` in a notebook or a terminal."""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Update(Protocol):
    """A function that sets the number of finished steps, with a note."""

    def __call__(self, steps: int, note: str = "") -> None:
        """Move the bar."""


@contextlib.contextmanager
def step_bar(shown: bool, total: int) -> Iterator[Update]:
    """Show a bar of `total` steps if `shown`."""
    bar = Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not shown,
    )
    with bar:
        task = bar.add_task("", total=total, note="compiling")

        def update(steps: int, note: str = "") -> None:
            bar.update(task, completed=steps, note=note)

        yield update
