"""Output that never fails a run: to a closed pipe, in ASCII, of names of any bytes."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from rich.console import Console


def console(width_in_files: int | None = None, *, stderr: bool = False) -> Console:
    """A terminal that shows text as it is: `[/b]` in a name is no markup.

    `width_in_files` is the width where the output is no terminal.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else width_in_files
    return Console(
        stderr=stderr, width=width, markup=False, emoji=False, highlight=False
    )


@contextlib.contextmanager
def forgiving_output() -> Iterator[None]:
    """Silently drop the output of the block that cannot be written.

    Characters that the encoding lacks are escaped as in Python.
    """
    with (
        contextlib.redirect_stdout(_Forgiving(sys.stdout)),
        contextlib.redirect_stderr(_Forgiving(sys.stderr)),
    ):
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


class _Forgiving:
    """A text stream whose `write` and `flush` do not fail; None is a closed stream.

    After a failure the stream writes to the null device, or Python would fail at exit.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or io.StringIO()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        encoding = self._stream.encoding or "utf-8"
        plain = text.encode(encoding, "backslashreplace").decode(encoding)
        with self._forgiven():
            self._stream.write(plain)
        return len(text)

    def flush(self) -> None:
        with self._forgiven():
            self._stream.flush()

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: the stream is closed
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)
