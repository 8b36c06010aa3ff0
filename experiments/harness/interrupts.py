"""Handling of Ctrl-C and a scheduler's SIGTERM, noted until a run may end."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

REPEAT = 0.2  # seconds within which `timeout` signals a process, and its group again
LATER = 0.05  # seconds after which an interrupt is raised that would be lost now
# Python ignores what is raised in a finaliser, and JAX has one in its collector.
FINALISERS = ("__del__", "_xla_gc_callback")
_last = -REPEAT


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise a KeyboardInterrupt: the handler of Ctrl-C, SIGTERM and its own alarm.

    A signal that comes twice at once is one interrupt. In a finaliser, which would
    lose the exception, an alarm raises it a moment later.
    """
    while frame is not None:
        if frame.f_code.co_name in FINALISERS:
            signal.setitimer(signal.ITIMER_REAL, LATER)
            return
        frame = frame.f_back
    if not _is_repeated():
        raise KeyboardInterrupt


def _is_repeated() -> bool:
    global _last
    now = time.monotonic()
    before, _last = _last, now
    return now - before < REPEAT


@contextlib.contextmanager
def handled(
    handler: Callable[[int, FrameType | None], None], *numbers: int
) -> Iterator[Callable[[], None]]:
    """Handle these signals in the block; yields the function that stops it."""
    before = {number: signal.signal(number, handler) for number in numbers}

    def restore() -> None:
        for number, other in before.items():
            signal.signal(number, other)

    try:
        yield restore
    finally:
        restore()


@contextlib.contextmanager
def noted_interrupts() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C or SIGTERM, so that the block ends in a valid state.

    Yields a function that is True after an interrupt. The interrupt is raised at the
    end of the block; a second one is raised at once. Outside the main thread, where
    Python handles no signals, none is noted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if not _is_repeated():
            noted.append(number)
            restore()

    with handled(note, signal.SIGINT, signal.SIGTERM) as restore:
        yield lambda: bool(noted)
    if noted:
        raise KeyboardInterrupt
