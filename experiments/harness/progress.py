"""The progress of a run: a bar on a terminal, and elsewhere occasional lines."""

import contextlib
import sys
import time
from collections.abc import Iterator

from experiments.harness.terminal import console
from vaejax.progress import COMPILING as COMPILING
from vaejax.progress import Update, bar

SHORTEST, LONGEST = 1.0, 30.0  # seconds between two lines


@contextlib.contextmanager
def progress_bar(description: str, total: float, unit: str) -> Iterator[Update]:
    """Show a bar with throughput and time left; off a terminal print lines instead.

    Yields `update(done, note)`: the number of units done so far, and a note, if
    there is a new one.
    """
    if not sys.stderr.isatty():
        yield Lines(description, total, unit)
        return
    terminal = console(stderr=True)
    with bar(description, total, unit, console=terminal) as update:
        yield update


class Lines:
    """Progress as lines on stderr, for every tenth of the work or every 30 seconds.

    A line that says nothing new is not printed. A run that takes less than a second
    prints only that it compiles.
    """

    def __init__(self, description: str, total: float, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._note, self._line = "", ""
        self._printed_at, self._printed = time.monotonic(), 0.0  # by the last line
        self._first: tuple[float, float] | None = None  # when the first units were done

    def __call__(self, done: float, note: str | None = None) -> None:
        """Print a line if it is time for one, or if the run compiles."""
        if not self._total:  # every cell is refused, say
            return
        self._note = self._note if note is None else note
        now = time.monotonic()
        if self._first is None and done > 0:
            self._first = now, done
        since = now - self._printed_at
        tenths = [int(10 * units / self._total) for units in (done, self._printed)]
        is_due = since >= (SHORTEST if tenths[0] > tenths[1] else LONGEST)
        if not is_due and note != COMPILING:
            return
        parts = [f"{self._description}: {int(done)}/{self._total:.0f} {self._unit}"]
        if self._note:
            parts.append(self._note)
        if self._first is not None and self._first[1] < done < self._total:
            rate = (done - self._first[1]) / (now - self._first[0])
            parts.append(f"{(self._total - done) / rate:,.0f} s left")
        self._printed, self._printed_at = done, now
        said, self._line = self._line, ", ".join(parts)
        if not said.startswith(self._line):  # it says less than, or the same as, before
            print(self._line, file=sys.stderr, flush=True)
