"""Measuring the cells: gradients drawn and summed up, on every core, and their cost.

Where models are small, nearly all time goes into compilation, which runs beside that of
other cells. Costs are measured when nothing else runs.
"""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial

import jax
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params

from experiments.benchmark.gradient_cells import (
    SPLIT_COLUMNS,
    Row,
    Set,
    Setting,
    objective_at,
    valid,
    work_of,
)
from experiments.benchmark.gradient_reference import (
    BUDGET_DRAWS,
    Reference,
    direction_of,
    reference_of,
)
from vaejax.benchmark import (
    CostReport,
    GroupReport,
    Moments,
    VarianceSplit,
    combine,
    cost_reports,
    gradient_moments,
    summarize,
    variance_split,
)
from vaejax.core import Batch, Key, Objective, Params, PyTree

# What a direction that is not known makes of these is not worth a number.
OF_DIRECTION = [
    name
    for name in GroupReport._fields
    if name.startswith(("cosine", "draw_cosine", "directional_snr"))
]
Work = tuple[Setting, Set, Sequence[str]]  # the estimators to be measured


def measure_sets(work: Sequence[Work]) -> Generator[Iterator[tuple[str, list[Row]]]]:
    """For every set, the rows of its estimators, one after the other as they are done.

    While the gradients of a set are drawn, so is the reference of the next; nothing
    runs any more when its rows come to an end. A budget of seconds is each cell's own:
    then they take turns.
    """
    alone = any(setting.seconds is not None for setting, _, _ in work)
    with ThreadPoolExecutor(1 if alone else os.cpu_count()) as pool:

        def reference(at: int) -> Future[Reference] | None:
            if at == len(work) or not work[at][2]:
                return None
            setting, cells, _ = work[at]
            return pool.submit(reference_of, setting, cells.problem)

        def rows(
            at: int, source: Future[Reference] | None, following: Future | None
        ) -> Iterator[tuple[str, list[Row]]]:
            setting, cells, names = work[at]
            if source is not None:
                futures = {
                    pool.submit(_measure, setting, cells, name, source): name
                    for name in names
                }
                for future in as_completed(futures):
                    yield futures[future], future.result()
            if following is not None:
                following.exception()  # wait: what comes next is timed

        try:
            current = reference(0)
            for at in range(len(work)):
                following = reference(at + 1)
                yield rows(at, current, following)
                current = following
        finally:
            pool.shutdown(cancel_futures=True)


def _measure(
    setting: Setting, cells: Set, name: str, source: Future[Reference]
) -> list[Row]:
    """Draw the gradients of an estimator: its rows."""
    reference, words, errors = source.result()
    start = time.perf_counter()
    at = objective_at(setting, cells, name)
    work = work_of(setting, cells.problem, cells.num_outer)
    moments = _moments(setting, at, direction_of(reference, at[1]), start, work)
    reports = summarize(moments, reference, per_layer=setting.per_layer)
    splits: dict[str, VarianceSplit] = {}
    if setting.split_variance:
        splits = variance_split(
            *at,
            setting.keys.split,
            setting.batch,
            draws=moments.draws,
            batch_size=setting.observations,
            per_layer=setting.per_layer,
        )
    shared = cells.rows[name] | {"reference": words, "draws": moments.draws}
    rows = []
    for group, report in reports.items():
        row = shared | {"group": group, "reference_error": errors.get(group)}
        row |= {k: None if np.isnan(v) else v for k, v in report._asdict().items()}
        if splits:
            row |= zip(SPLIT_COLUMNS, splits[group], strict=True)
        if errors.get(group, 0.0) > setting.reference_error:
            row |= dict.fromkeys(OF_DIRECTION)
        rows.append(row)
    return rows


def measure_costs(setting: Setting, cells: Set, timed: bool) -> dict[str, CostReport]:
    """What a gradient of each estimator costs; they take turns."""
    names = valid(cells)
    at = [contestant(setting, cells, name) for name in names]
    if not timed:
        found = cost_reports(at, setting.keys.draws, calls=0)
    else:
        found = [
            cost._replace(flops=np.nan) if _loops(one, setting.keys.draws) else cost
            for cost, one in zip(cost_reports(at, setting.keys.draws), at, strict=True)
        ]
    return dict(zip(names, found, strict=True))


def _loops(at: tuple[Objective, Params, PyTree, Batch], key: Key) -> bool:
    """Whether the gradient's program has a loop, whose body XLA counts only once."""
    objective, params, state, batch = at

    def holds_one(program: Jaxpr) -> bool:
        return any(
            equation.primitive.name in ("scan", "while")
            or any(map(holds_one, jaxprs_in_params(equation.params)))
            for equation in program.eqns
        )

    gradient = jax.grad(objective.loss, has_aux=True)
    return holds_one(jax.make_jaxpr(gradient)(params, state, key, batch).jaxpr)


def contestant(
    setting: Setting, cells: Set, name: str
) -> tuple[Objective, Params, PyTree, Batch]:
    """What a gradient's cost is measured of: with as many observations as it has."""
    # Time and memory do not depend on which they are.
    rows = np.arange(setting.observations) % len(setting.batch.global_index)
    batch = jax.tree.map(lambda leaf: leaf[rows], setting.batch)
    return *objective_at(setting, cells, name), batch


def with_cost(row: Row, cost: CostReport) -> Row:
    """Add what the gradient costs, and what its variance is worth."""
    variance, error = (np.array(row[f"variance{n}"], float) for n in ("", "_stderr"))
    seconds, evaluations = cost.seconds_per_gradient, cost.decoder_evaluations
    found = cost._asdict() | {
        "work_normalized_variance": float(variance * seconds),
        "work_normalized_variance_stderr": float(
            np.hypot(error * seconds, variance * cost.seconds_stderr)
        ),
        "evaluation_normalized_variance": float(variance * evaluations),
        "evaluation_normalized_variance_stderr": float(error * evaluations),
    }
    return row | {k: None if np.isnan(v) else v for k, v in found.items()}


def _moments(
    setting: Setting,
    at: tuple[Objective, Params, PyTree],
    direction: Params,
    start: float,
    work: float,
) -> Moments:
    """The draws asked for, or those that the cell's seconds allow."""
    draw = partial(
        gradient_moments,
        *at,
        batch=setting.batch,
        batch_size=setting.batch_size,
        reference=direction,
    )
    if setting.seconds is None:
        whole = work * setting.draws
        return draw(key=setting.keys.draws, draws=setting.draws, work=whole)
    passes: list[Moments] = []
    while not passes or time.perf_counter() - start < setting.seconds:
        key = jax.random.fold_in(setting.keys.draws, len(passes))
        passes.append(draw(key=key, draws=BUDGET_DRAWS))
    return combine(passes)
