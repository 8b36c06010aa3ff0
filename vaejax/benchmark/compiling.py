"""The seconds that XLA compiles, as JAX's monitoring tells them.

A program is compiled in the thread that calls it first. A program from the persistent
cache counts the seconds of its reading.
"""

import threading
from collections import defaultdict
from functools import cache
from typing import Any

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"


def compile_seconds() -> float:
    """The seconds that XLA compiled for this thread, since the first call of any."""
    return _by_thread()[threading.get_ident()]


@cache  # one listener, as JAX calls all of them at every event
def _by_thread() -> defaultdict[int, float]:
    seconds: defaultdict[int, float] = defaultdict(float)

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILED:
            seconds[threading.get_ident()] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    return seconds
