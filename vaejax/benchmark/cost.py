"""The cost of a gradient: evaluations of the decoder, time, work and memory."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params
from jax.stages import Compiled, Traced

from vaejax.benchmark.evaluations import decoder_evaluations
from vaejax.core import Batch, Key, Objective, Params, PyTree

CALLS = 20  # timed calls of a gradient


class CostReport(NamedTuple):
    """The cost of one gradient of the batch; NaN where not measured."""

    # Forward p(x | z) of one example and sample; 0 unless the model is `counted`.
    decoder_evaluations: int
    seconds_per_gradient: float = np.nan  # median over calls, dispatch included
    seconds_stderr: float = (
        np.nan
    )  # error of the median, from the calls' order: sqrt(n) / 2 ranks
    flops: float = np.nan  # XLA's count; none with a loop, whose body it counts once
    peak_bytes: float = np.nan  # arguments, results and temporaries of the program


def cost_report(
    objective: Objective,
    params: Params,
    state: PyTree,
    key: Key,
    batch: Batch,
    *,
    calls: int = CALLS,
) -> CostReport:
    """Time one compiled gradient of the batch and read the counts of its work."""
    (report,) = cost_reports([(objective, params, state, batch)], key, calls=calls)
    return report


def cost_reports(
    contestants: Sequence[tuple[Objective, Params, PyTree, Batch]],
    key: Key,
    *,
    calls: int = CALLS,
) -> list[CostReport]:
    """The costs of several gradients, which take turns to be comparable.

    Args:
        contestants: objectives, each with its parameters, its state and the
            observations.
        key: of the gradients.
        calls: of each one; a first one that warms up is not counted. With 0, nothing is
            compiled, and only the decoder's evaluations are counted.
    """
    contestants = [
        (*at, batch._replace(example=at[0].data.check(batch.example)))
        for *at, batch in contestants
    ]
    traced = [
        jax.jit(jax.grad(objective.loss, has_aux=True)).trace(params, state, key, batch)
        for objective, params, state, batch in contestants
    ]
    evaluations = [decoder_evaluations(gradient.jaxpr) for gradient in traced]
    if calls == 0:
        return list(map(CostReport, evaluations))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        compiled = list(pool.map(_compile, traced))
    seconds = np.empty((calls + 1, len(compiled)))
    for call, at in np.ndindex(seconds.shape):
        _, params, state, batch = contestants[at]
        start = time.perf_counter()
        jax.block_until_ready(compiled[at](params, state, key, batch))
        seconds[call, at] = time.perf_counter() - start
    # The median's rank among n calls is n / 2 +- sqrt(n) / 2, whatever their law.
    half = min(0.5, 0.5 / np.sqrt(calls))
    reports = []
    for count, program, gradient, taken in zip(
        evaluations, traced, compiled, seconds[1:].T, strict=True
    ):
        work, memory = gradient.cost_analysis(), gradient.memory_analysis()
        assert work is not None  # None only on exotic backends
        assert memory is not None
        low, middle, high = np.quantile(taken, (0.5 - half, 0.5, 0.5 + half))
        reports.append(
            CostReport(
                decoder_evaluations=count,
                seconds_per_gradient=float(middle),
                seconds_stderr=float(high - low) / 2,
                flops=np.nan
                if _loops(program.jaxpr.jaxpr)
                else float(work.get("flops", np.nan)),
                peak_bytes=memory.argument_size_in_bytes
                + memory.output_size_in_bytes
                + memory.temp_size_in_bytes,
            )
        )
    return reports


def _compile(traced: Traced) -> Compiled:
    return traced.lower().compile()


def _loops(program: Jaxpr) -> bool:
    return any(
        equation.primitive.name in ("scan", "while")
        or any(map(_loops, jaxprs_in_params(equation.params)))
        for equation in program.eqns
    )
