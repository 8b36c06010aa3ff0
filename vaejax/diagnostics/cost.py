"""What a gradient costs: time, work and memory."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from vaejax.core import Batch, EstState, Key, Objective, Params


class CostReport(NamedTuple):
    """What one gradient of the batch costs."""

    seconds_per_gradient: float  # median over calls, dispatch included
    seconds_stderr: float  # of the median, from the calls' order: sqrt(n) / 2 ranks
    flops: float  # XLA's count
    peak_bytes: int  # arguments, results and temporaries of the compiled gradient


def cost_report(
    objective: Objective,
    params: Params,
    state: EstState,
    key: Key,
    batch: Batch,
    *,
    calls: int = 20,
) -> CostReport:
    """Time one compiled gradient of the batch and read XLA's counts of its work."""
    (report,) = cost_reports([(objective, params, state, batch)], key, calls=calls)
    return report


def cost_reports(
    contestants: Sequence[tuple[Objective, Params, EstState, Batch]],
    key: Key,
    *,
    calls: int = 20,
) -> list[CostReport]:
    """The costs of several gradients, which take turns, so that they compare.

    Args:
        contestants: objectives, each with its parameters, its estimator's state and
            the observations.
        key: of the gradients.
        calls: of each one; a first one that warms up is not counted.
    """
    compiled = [
        jax.jit(jax.grad(objective.loss, has_aux=True))
        .lower(params, state, key, batch)
        .compile()
        for objective, params, state, batch in contestants
    ]
    seconds = np.empty((calls + 1, len(compiled)))
    for call, at in np.ndindex(seconds.shape):
        _, params, state, batch = contestants[at]
        start = time.perf_counter()
        jax.block_until_ready(compiled[at](params, state, key, batch))
        seconds[call, at] = time.perf_counter() - start
    # The median's rank among n calls is n / 2 +- sqrt(n) / 2, whatever their law.
    half = min(0.5, 0.5 / np.sqrt(calls))
    reports = []
    for gradient, taken in zip(compiled, seconds[1:].T, strict=True):
        work, memory = gradient.cost_analysis(), gradient.memory_analysis()
        assert work is not None  # None only on exotic backends
        assert memory is not None
        low, middle, high = np.quantile(taken, (0.5 - half, 0.5, 0.5 + half))
        reports.append(
            CostReport(
                seconds_per_gradient=float(middle),
                seconds_stderr=float(high - low) / 2,
                flops=float(work.get("flops", np.nan)),
                peak_bytes=memory.argument_size_in_bytes
                + memory.output_size_in_bytes
                + memory.temp_size_in_bytes,
            )
        )
    return reports
