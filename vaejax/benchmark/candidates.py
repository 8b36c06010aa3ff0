"""The candidates of an advice: verdicts, costs, and draws until the best is known."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

from vaejax.benchmark.advice import CHOICE
from vaejax.benchmark.cells import (
    CellGroup,
    Point,
    check_gradients,
    make_groups,
    objective_at,
    work_of,
)
from vaejax.benchmark.cost import CostReport, cost_reports
from vaejax.benchmark.measure import contestant
from vaejax.benchmark.moments import Moments, fold_count, gradient_moments
from vaejax.benchmark.ranking import Measured, Ranking, rank, signal_of_folds
from vaejax.benchmark.reference import direction_of, drawn_reference
from vaejax.benchmark.rows import Cell
from vaejax.core import Bound, Estimator, Params, VaejaxError, Verdict
from vaejax.progress import COMPILING, Update

Bar = Callable[[str, float, str], AbstractContextManager[Update]]  # title, total, unit


class Record:
    """Named results by cell, a tuple of plain values."""

    def __init__(self) -> None:
        self._found: dict[tuple[Hashable, ...], dict[str, Any]] = {}

    def read(self, cell: tuple[Hashable, ...], name: str) -> Any:
        """The result of a cell under this name, or None."""
        return self._found.get(cell, {}).get(name)

    def write(self, cell: tuple[Hashable, ...], /, **found: Any) -> None:
        """Keep results of a cell."""
        self._found.setdefault(cell, {}).update(found)


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A choice of estimator, K, M and batch size."""

    point: Point
    group: CellGroup
    cell: Cell
    verdict: Verdict

    @property
    def name(self) -> str:
        """The estimator's name."""
        return self.cell.estimator

    @property
    def choice(self) -> tuple[Any, ...]:
        """The candidate's cell of the record."""
        return tuple(getattr(self.cell, name) for name in CHOICE)

    def may_be_recommended(self, allow_bias: bool) -> bool:
        """True if the estimator is unbiased, or biased where that is allowed."""
        status = self.verdict.status
        return status == "unbiased" or (allow_bias and status == "biased")


def make_candidates(
    pool: Point,
    bound: Bound,
    estimators: Sequence[Estimator],
    num_samples: Sequence[int],
    num_outer: Sequence[int],
    batch_size: Sequence[int],
) -> list[Candidate]:
    """Make a candidate of every combination, with its verdict.

    Raises:
        VaejaxError: two estimators of one name; more numbers than a program can hold.
    """
    check_gradients(pool, max(num_samples), 1)  # of the reference
    return [
        Candidate(point, group, row.cell, _verdict(point, group, name))
        for point in (pool._replace(batch_size=size) for size in batch_size)
        for group in make_groups(point, [bound], estimators, num_samples, num_outer)
        for name, row in group.rows.items()
    ]


def _verdict(point: Point, group: CellGroup, name: str) -> Verdict:
    """The verdict; an estimator whose surrogate raises a `VaejaxError` is refused."""
    verdict = group.rows[name].verdict
    if verdict.status == "refused":
        return verdict
    try:
        objective, params, state, batch = contestant(point, group, name)
        jax.eval_shape(objective.loss, params, state, point.keys.draws, batch)
    except VaejaxError as error:
        return Verdict("refused", str(error))
    return verdict


def costs_of(measured: list[Candidate]) -> list[CostReport]:
    """The cost of a gradient of each candidate; candidates take turns."""
    return cost_reports(
        [contestant(c.point, c.group, c.name) for c in measured],
        measured[0].point.keys.draws,
    )


def draw(
    fitting: list[Candidate],
    costs: dict[Candidate, CostReport],
    eligible: list[bool],
    record: Record,
    progress: Bar,
    *,
    passes: int,
    group: str,
    seed: int,
) -> tuple[Ranking, list[int]]:
    """Draw gradients in passes, until the best is known or the passes are spent.

    Args:
        fitting: the candidates.
        costs: of their gradients.
        eligible: True for those that may be recommended.
        record: of the passes that are drawn.
        progress: the bar of the passes.
        passes: at most.
        group: of parameters.
        seed: of the ranking's own draws.

    Returns:
        The ranking, and the number of passes of each candidate.
    """
    folds = fold_count(fitting[0].point.draws)
    references: dict[int, tuple[Moments, str]] = {}  # by K
    found: dict[Candidate, list[np.ndarray]] = {c: [] for c in fitting}
    active = fitting
    with progress("gradients", passes * len(fitting), "passes") as update:
        update(0, COMPILING)
        for number in range(passes):
            for place, c in enumerate(active):
                drawn = (*c.choice, number)
                if record.read(drawn, "folds") is None:
                    k = c.cell.num_samples
                    if k not in references:
                        whole = c.point._replace(batch_size=None)
                        references[k] = drawn_reference(whole, c.group.problem)
                    moments, words = references[k]
                    folds_of = _signal(c, moments.mean, number, group)
                    record.write(drawn, folds=folds_of.tolist(), reference=words)
                found[c].append(np.array(record.read(drawn, "folds")))
                update(number * len(fitting) + place + 1, c.name)
            ranking = rank(
                [
                    Measured(
                        np.concatenate(found[c]),
                        costs[c].seconds_per_gradient,
                        costs[c].seconds_stderr,
                    )
                    for c in fitting
                ],
                eligible,
                folds,
                np.random.default_rng(seed),
                looks=passes,
            )
            tied = ranking.per_second.tied
            if tied.sum() == 1:
                break
            active = [c for c, is_tied in zip(fitting, tied, strict=True) if is_tied]
    return ranking, [len(found[c]) for c in fitting]


def _signal(
    candidate: Candidate, reference: Params, number: int, group: str
) -> np.ndarray:
    """The signal in a pass of draws; all candidates share observations and keys."""
    point = candidate.point
    problem, num_outer, *_ = candidate.group
    at = objective_at(point, candidate.group, candidate.name)
    direction = direction_of(reference, at[1])
    moments = gradient_moments(
        *at,
        jax.random.fold_in(point.keys.draws, number),
        point.batch,
        draws=point.draws,
        batch_size=point.batch_size,
        reference=direction,
        work=point.draws * work_of(point, problem, num_outer),
    )
    return signal_of_folds(moments, direction, group, fold_count(point.draws))
