"""The cells of a comparison of gradient estimators: bounds x K x M x estimators.

The cells of a set share the bound, K and M, and the reference that they are compared
with; they take turns when their cost is measured. All cells see the same parameters,
observations and keys.
"""

import functools
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax import exact
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    EstState,
    Key,
    Model,
    Objective,
    Params,
    Problem,
    VaejaxError,
)
from vaejax.diagnostics import (
    Moments,
    combine,
    cost_reports,
    fold_count,
    gradient_moments,
    summarize,
    variance_split,
)
from vaejax.diagnostics.cost import CostReport
from vaejax.diagnostics.report import GroupReport, groups
from vaejax.diagnostics.split import VarianceSplit
from vaejax.estimators import ESTIMATORS
from vaejax.objective import check, make_objective

Row = dict[str, Any]

SPLIT_COLUMNS = tuple(f"variance_{name}" for name in VarianceSplit._fields)
CELL = ("model", "bound", "estimator", "num_samples", "num_outer", "batch_size", "step")
COLUMNS = (
    *CELL,
    *("group", "status", "reason", "reference", "draws"),
    *GroupReport._fields,
    *SPLIT_COLUMNS,
    *CostReport._fields,
    *("work_normalized_variance", "config_hash"),
)
# Reference estimators, the one of least variance first.
REFERENCES = ("dreg", "pathwise", "rloo", "score_function")
EXACT_TOLERANCE = 1e-5  # far below the Monte Carlo error of any affordable draws
REFERENCE_DRAWS = 4  # times as many as each estimator gets, in a pass
MAX_PASSES = 16  # of the reference
BUDGET_DRAWS = 200  # in a pass, where the time decides how many there are


class Keys(NamedTuple):
    """The random streams of a comparison."""

    params: Key
    examples: Key
    state: Key
    draws: Key
    reference: Key
    split: Key


def make_keys(seed: int) -> Keys:
    """Split the seed's key."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


class Setting(NamedTuple):
    """Where the gradients are taken, and how many of them."""

    model: Model
    params: Params
    batch: Batch
    keys: Keys
    draws: int
    batch_size: int | None = None  # drawn from the batch for every gradient anew
    seconds: float | None = None  # for each cell: draws until they are spent
    split_variance: bool = False
    per_layer: bool = False
    reference_error: float = 0.05  # of a drawn reference, relative to its norm
    step: int | None = None  # of the training run that the parameters come from

    @property
    def observations(self) -> int:
        """How many a gradient is the mean over."""
        return self.batch_size or len(self.batch.global_index)


class Set(NamedTuple):
    """The cells that share a reference."""

    problem: Problem
    num_outer: int  # M, independent estimates that a gradient is the mean of
    rows: dict[str, Row]  # what names each estimator's cell, and its verdict


def make_sets(
    setting: Setting,
    bounds: Sequence[Bound],
    estimators: Sequence[Estimator],
    num_samples: Sequence[int],
    num_outer: Sequence[int],
) -> list[Set]:
    """Every combination, with the verdict on it."""
    sets = []
    for bound in bounds:
        for k in num_samples:
            problem = Problem(model=setting.model, bound=bound, num_samples=k)
            verdicts = {est.name: check(problem, est) for est in estimators}
            sets += [
                Set(
                    problem,
                    outer,
                    {
                        name: {
                            "model": setting.model.name,
                            "bound": bound.name,
                            "estimator": name,
                            "num_samples": k,
                            "num_outer": outer,
                            "batch_size": setting.observations,
                            "step": setting.step,
                            "status": verdict.status,
                            "reason": verdict.reason,
                        }
                        for name, verdict in verdicts.items()
                    },
                )
                for outer in num_outer
            ]
    return sets


def valid(cells: Set) -> list[str]:
    """The estimators that do not refuse."""
    return [name for name, row in cells.rows.items() if row["status"] != "refused"]


def measure_set(
    setting: Setting, cells: Set, estimators: Sequence[str]
) -> Iterator[tuple[str, list[Row]]]:
    """Draw the gradients of these estimators; the rows of one after the other."""
    reference = None
    for name in estimators:
        if reference is None:
            reference, source = _reference(setting, cells.problem)
        start = time.perf_counter()
        at = objective_at(setting, cells, name)
        moments = _moments(setting, at, direction_of(reference, at[1]), start)
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
        shared = cells.rows[name] | {"reference": source, "draws": moments.draws}
        yield (
            name,
            [
                shared
                | {"group": group}
                | report._asdict()
                | (
                    dict(zip(SPLIT_COLUMNS, splits[group], strict=True))
                    if splits
                    else {}
                )
                for group, report in reports.items()
            ],
        )


def measure_costs(setting: Setting, cells: Set) -> dict[str, CostReport]:
    """What a gradient of each estimator costs; they take turns."""
    names = valid(cells)
    at = [contestant(setting, cells, name) for name in names]
    return dict(zip(names, cost_reports(at, setting.keys.draws), strict=True))


def contestant(
    setting: Setting, cells: Set, name: str
) -> tuple[Objective, Params, EstState, Batch]:
    """What a gradient's cost is measured of: with as many observations as it has."""
    # Time and memory do not depend on which they are.
    rows = np.arange(setting.observations) % len(setting.batch.global_index)
    batch = jax.tree.map(lambda leaf: leaf[rows], setting.batch)
    return *objective_at(setting, cells, name), batch


def with_cost(row: Row, cost: CostReport) -> Row:
    """Add what the gradient costs, and what its variance is worth."""
    work = row["variance"] * cost.seconds_per_gradient
    return row | cost._asdict() | {"work_normalized_variance": work}


def objective_at(
    setting: Setting, cells: Set, name: str
) -> tuple[Objective, Params, EstState]:
    """A cell's objective, with the parameters and the estimator's state."""
    objective = _objective(cells.problem, name, cells.num_outer)
    fresh, state = objective.init(setting.keys.state)
    # What the estimator has parameters of its own for is not trained here.
    return objective, setting.params._replace(auxiliary=fresh.auxiliary), state


@functools.cache  # the same one, so that what is compiled serves at other parameters
def _objective(problem: Problem, name: str, num_outer: int) -> Objective:
    objective = make_objective(
        problem.model,
        problem.bound,
        ESTIMATORS[name](),
        num_samples=problem.num_samples,
        allow_bias=True,
    )
    return objective if num_outer == 1 else mean_of_estimates(objective, num_outer)


def mean_of_estimates(objective: Objective, count: int) -> Objective:
    """The mean of M independent estimates on the same observations."""

    def loss(params: Params, state: EstState, key: Key, batch: Batch) -> tuple:
        def one(key: Key) -> tuple:
            return objective.loss(params, state, key, batch)

        value, (states, metrics) = jax.vmap(one)(jax.random.split(key, count))
        first = jax.tree.map(lambda leaf: leaf[0], states)
        return value.mean(), (first, jax.tree.map(jnp.mean, metrics))

    return Objective(init=objective.init, loss=loss)


def _moments(
    setting: Setting,
    at: tuple[Objective, Params, EstState],
    direction: Params,
    start: float,
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
        return draw(key=setting.keys.draws, draws=setting.draws)
    passes: list[Moments] = []
    while not passes or time.perf_counter() - start < setting.seconds:
        key = jax.random.fold_in(setting.keys.draws, len(passes))
        passes.append(draw(key=key, draws=BUDGET_DRAWS))
    return combine(passes)


def direction_of(reference: Params | Moments, params: Params) -> Params:
    """What single draws are held against, of the structure of the parameters."""
    direction = reference.mean if isinstance(reference, Moments) else reference
    nothing = jax.tree.map(jnp.zeros_like, params.auxiliary)
    as_float = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), direction)
    return as_float._replace(auxiliary=nothing)


def _reference(setting: Setting, problem: Problem) -> tuple[Params | Moments, str]:
    """The gradient of the loss, exact or drawn, and what it is in words."""
    try:
        found = exact.value_and_gradient(
            problem, setting.params, setting.batch.example, tolerance=EXACT_TOLERANCE
        )
        sign = 1 if problem.bound.upper else -1
        gradient = jax.tree.map(lambda leaf: sign * leaf, found.gradient)
    except VaejaxError:  # no closed form, too many nodes, or not converged
        return drawn_reference(setting, problem)
    return gradient, "the exact gradient"


def drawn_reference(setting: Setting, problem: Problem) -> tuple[Moments, str]:
    """Draws of its own of an unbiased estimator, until their mean is known well."""
    names = [
        name
        for name in REFERENCES
        if check(problem, ESTIMATORS[name]()).status == "unbiased"
    ]
    if not names:
        raise VaejaxError(
            f"nothing to compare {problem.bound.name} on {problem.model.name} with: it "
            f"cannot be integrated, and none of {', '.join(REFERENCES)} is unbiased "
            "there; use a smaller model"
        )
    cells = Set(problem, 1, {})
    at = objective_at(setting, cells, names[0])
    if setting.seconds is None:
        draws = REFERENCE_DRAWS * setting.draws
        folds = fold_count(setting.draws)
    else:
        draws, folds = REFERENCE_DRAWS * BUDGET_DRAWS, fold_count(BUDGET_DRAWS)
    passes: list[Moments] = []
    error = np.inf
    while error > setting.reference_error and len(passes) < MAX_PASSES:
        passes.append(
            gradient_moments(
                *at,
                jax.random.fold_in(setting.keys.reference, len(passes)),
                setting.batch,
                draws=draws,
                folds=folds,
                batch_size=setting.batch_size,
            )
        )
        known = combine(passes) if len(passes) > 1 else passes[0]
        error = _relative_error(known)
    return known, (
        f"{names[0]}, {known.draws:,} draws, error {100 * error:.2g}% of the norm"
    )


def _relative_error(moments: Moments) -> float:
    """The standard error of the mean gradient, over its norm less its noise."""
    mean = np.concatenate(list(groups(moments.mean).values()))
    noise = sum(v.sum() for v in groups(moments.variance).values()) / moments.draws
    signal = mean @ mean - noise
    return float(np.sqrt(noise / signal)) if signal > 0 else np.inf
