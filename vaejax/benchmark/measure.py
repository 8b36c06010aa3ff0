"""The measurement of cells: gradients drawn and summed, on every core, and their cost.

Where models are small, nearly all time goes into compilation, which runs beside that of
other cells. Costs are measured when nothing else runs.
"""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any

import jax
import numpy as np

from vaejax.benchmark.cells import CellGroup, Point, objective_at, work_of
from vaejax.benchmark.combining import combine
from vaejax.benchmark.compiling import compile_seconds
from vaejax.benchmark.cost import CALLS, CostReport, cost_reports
from vaejax.benchmark.moments import Moments, gradient_moments
from vaejax.benchmark.reference import (
    BUDGET_DRAWS,
    Reference,
    direction_of,
    reference_of,
)
from vaejax.benchmark.report import GroupReport, summarize
from vaejax.benchmark.rows import Row
from vaejax.benchmark.split import VarianceSplit, variance_split
from vaejax.core import Batch, LossState, Objective, Params, VaejaxError, Verdict

# Statistics that mean nothing where the direction of the reference is not known.
OF_DIRECTION: dict[str, Any] = {
    name: np.nan
    for name in GroupReport._fields
    if name.startswith(("cosine", "draw_cosine", "directional_snr"))
}
Work = tuple[Point, CellGroup, Sequence[str]]  # names: estimators to be measured


def measure_groups(work: Sequence[Work]) -> Generator[Iterator[tuple[str, list[Row]]]]:
    """Yield the rows of every group's estimators, as each estimator is done.

    The reference of the next group is drawn beside the gradients of a group; nothing
    runs any more when the rows of a group come to an end. A budget of seconds is per
    cell, and the cells then take turns. The rows of a group are to be taken to their
    end before the next group is asked for.
    """
    alone = any(point.seconds is not None for point, _, _ in work)
    with ThreadPoolExecutor(1 if alone else os.cpu_count()) as pool:

        def reference(at: int) -> Future[Reference] | None:
            if at == len(work) or not work[at][2]:
                return None
            point, group, _ = work[at]
            return pool.submit(reference_of, point, group.problem)

        def rows(
            at: int, source: Future[Reference] | None, following: Future | None
        ) -> Iterator[tuple[str, list[Row]]]:
            point, group, names = work[at]
            if source is not None:
                futures = {
                    pool.submit(_measure, point, group, name, source): name
                    for name in names
                }
                for future in as_completed(futures):
                    yield futures[future], future.result()
            if following is not None:
                following.exception()  # wait: the next step is timed

        try:
            current = reference(0)
            for at in range(len(work)):
                following = reference(at + 1)
                yield rows(at, current, following)
                current = following
        finally:
            pool.shutdown(cancel_futures=True)


def _measure(
    point: Point, group: CellGroup, name: str, source: Future[Reference]
) -> list[Row]:
    """Draw an estimator's gradients and return the rows, without the cost.

    An estimator whose surrogate raises a `VaejaxError` is one row with the reason.
    """
    reference = source.result()
    try:
        return _drawn(point, group, name, reference)
    except VaejaxError as error:
        return [group.rows[name]._replace(verdict=Verdict("refused", str(error)))]


def _drawn(point: Point, group: CellGroup, name: str, source: Reference) -> list[Row]:
    reference, words, errors = source
    start, compiled = time.perf_counter(), compile_seconds()
    at = objective_at(point, group, name)
    work = work_of(point, group.problem, group.num_outer)
    moments = _moments(point, at, direction_of(reference, at[1]), start, work)
    splits: dict[str, VarianceSplit] = {}
    if point.split_variance:
        splits = variance_split(
            *at,
            point.keys.split,
            point.batch,
            draws=moments.draws,
            batch_size=point.observations,
            per_layer=point.per_layer,
        )
    compiled = compile_seconds() - compiled
    rows = []
    reports = summarize(moments, reference, per_layer=point.per_layer)
    for parameters, report in reports.items():
        error = errors.get(parameters)
        if error is not None and error > point.reference_error:
            report = report._replace(**OF_DIRECTION)
        row = group.rows[name]._replace(
            group=parameters,
            draws=moments.draws,
            reference=words,
            reference_error=error,
            report=report,
            split=splits.get(parameters),
            compile_seconds=compiled,
        )
        rows.append(row)
    return rows


def measure_costs(point: Point, group: CellGroup, timed: bool) -> dict[str, CostReport]:
    """The cost of a gradient of each valid estimator; the estimators take turns."""
    names = group.valid
    at = [contestant(point, group, name) for name in names]
    found = cost_reports(at, point.keys.draws, calls=CALLS if timed else 0)
    return dict(zip(names, found, strict=True))


def contestant(
    point: Point, group: CellGroup, name: str
) -> tuple[Objective, Params, LossState, Batch]:
    """The arguments of a gradient for a cost measurement, at the point's batch size."""
    # Time and memory do not depend on the choice of observations.
    rows = np.arange(point.observations) % len(point.batch.global_index)
    batch = jax.tree.map(lambda leaf: leaf[rows], point.batch)
    return *objective_at(point, group, name), batch


def _moments(
    point: Point,
    at: tuple[Objective, Params, LossState],
    direction: Params,
    start: float,
    work: float,
) -> Moments:
    """The moments of the draws asked for, or of those that the cell's seconds allow."""
    draw = partial(
        gradient_moments,
        *at,
        batch=point.batch,
        batch_size=point.batch_size,
        reference=direction,
    )
    if point.seconds is None:
        whole = work * point.draws
        return draw(key=point.keys.draws, draws=point.draws, work=whole)
    passes: list[Moments] = []
    while not passes or time.perf_counter() - start < point.seconds:
        key = jax.random.fold_in(point.keys.draws, len(passes))
        passes.append(draw(key=key, draws=BUDGET_DRAWS))
    return combine(passes)
