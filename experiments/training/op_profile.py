"""The profile of a training: a trace of an epoch, summed by operation.

`jax.profiler` writes the trace in profile/, for Perfetto or XProf; summary.csv has a
line for every operation that XLA compiled.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData, ProfileOptions

from experiments.harness.result_table import print_rows, write_csv
from experiments.training.config import Config
from experiments.training.recorder import Epoch, Watcher
from vaejax.training import TrainState

SHOWN = 15
# The time of these operations is that of the operations within.
CONTAINERS = {"while", "conditional", "call"}


@contextlib.contextmanager
def profiling(config: Config) -> Iterator[list[Watcher]]:
    """Trace the second epoch of this process; print a summary at the end.

    The first epoch warms up. Yields the watcher that starts and ends the trace, or none
    without `config.profile`.
    """
    if not config.profile:
        yield []
        return
    folder = config.out / "profile"
    epochs = 0
    tracing = contextlib.ExitStack()

    def watch(row: Epoch, state: TrainState) -> None:
        nonlocal epochs
        epochs += 1
        if epochs == 1:
            options = ProfileOptions()
            options.python_tracer_level = 0  # the summary has no line for Python
            tracing.enter_context(jax.profiler.trace(folder, profiler_options=options))
        elif epochs == 2:
            tracing.close()

    with tracing:
        yield [watch]
    if epochs < 2:
        print("there is no profile, as only one epoch was left to train")
        return
    if not (rows := summarise(folder)):
        print(f"the trace in {folder} names no operation: there is no summary.csv")
        return
    write_csv(folder / "summary.csv", rows, list(rows[0]))
    print_rows("time by operation", rows[:SHOWN], list(rows[0]))
    print(f"profile, for ui.perfetto.dev, and summary.csv: {folder}")


def summarise(folder: Path) -> list[dict[str, Any]]:
    """The operations of the newest trace in the folder, the longest first.

    The milliseconds are summed over devices and threads, of which several may run at
    once: the shares add up to one, and the sum may be longer than the trace.
    """
    traces = folder.glob("plugins/profile/*/*.xplane.pb")
    (newest,) = sorted(path for path in traces if path.is_file())[-1:]
    counts: dict[tuple[str, str], int] = defaultdict(int)
    nanoseconds: dict[tuple[str, str], float] = defaultdict(float)
    for plane in ProfileData.from_file(str(newest)).planes:
        for line in plane.lines:
            for event in line.events:
                stats = dict(event.stats)
                operation = str(stats.get("hlo_op", ""))
                if operation and operation.partition(".")[0] not in CONTAINERS:
                    key = str(stats.get("hlo_module")), operation
                    counts[key] += 1
                    nanoseconds[key] += event.duration_ns
    total = sum(nanoseconds.values())
    return [
        {
            "program": program,
            "operation": operation,
            "count": counts[program, operation],
            "milliseconds": spent / 1e6,
            "share": spent / total,
        }
        for (program, operation), spent in sorted(
            nanoseconds.items(), key=lambda item: -item[1]
        )
    ]
