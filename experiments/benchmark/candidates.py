"""Candidates of `experiments.advise`: costs, and draws until the best is known."""

import dataclasses
from typing import Any

import jax
import numpy as np

from experiments.harness.journal import Journal
from experiments.harness.progress import COMPILING, progress_bar
from vaejax.benchmark import Moments, cost_reports, fold_count, gradient_moments
from vaejax.benchmark.cells import CellGroup, Point, objective_at, work_of
from vaejax.benchmark.cost import CostReport
from vaejax.benchmark.measure import contestant
from vaejax.benchmark.ranking import Measured, Ranking, rank, signal_of_folds
from vaejax.benchmark.reference import direction_of, drawn_reference
from vaejax.benchmark.rows import Cell
from vaejax.core import Params, Verdict

CHOICE = ("estimator", "num_samples", "num_outer", "batch_size")


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
        """The candidate's key in the journal."""
        return tuple(getattr(self.cell, name) for name in CHOICE)


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
    journal: Journal,
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
        journal: of the run, with the passes that are drawn.
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
    with progress_bar("gradients", passes * len(fitting), "passes") as update:
        update(0, COMPILING)
        for number in range(passes):
            for place, c in enumerate(active):
                drawn = (*c.choice, number)
                if journal.read(drawn, "folds") is None:
                    k = c.cell.num_samples
                    if k not in references:
                        whole = c.point._replace(batch_size=None)
                        references[k] = drawn_reference(whole, c.group.problem)
                    moments, words = references[k]
                    folds_of = _signal(c, moments.mean, number, group)
                    journal.write(drawn, folds=folds_of.tolist(), reference=words)
                found[c].append(np.array(journal.read(drawn, "folds")))
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
