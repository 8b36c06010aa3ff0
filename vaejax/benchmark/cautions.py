"""Cautions about a comparison: what its numbers, or the run itself, leave open."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vaejax.benchmark.cells import AS_INITIALISED
from vaejax.benchmark.direction import SEEN
from vaejax.benchmark.numbers import number_of, part_of, short, span
from vaejax.benchmark.report import FEW, HEAVY, LARGEST_SHARE
from vaejax.benchmark.rows import Row, of_whole_groups
from vaejax.benchmark.statistics import (
    Statistics,
    distinct,
    least_found,
    number,
    quantiles,
    unsafe,
    values_of,
)

SHOWN = 4  # reasons of refusals in a sentence, at most
DAGGER = (
    "† marks an error that is not reliable: the squared deviations of the gradients "
    f"have heavy tails (a Pareto k of {HEAVY:g} or more), or one draw holds "
    f"{LARGEST_SHARE:.0%} of their sum, or the draws are too few to show a tail (fewer "
    f"than {FEW})."
)


def cautions(rows: Sequence[Row], budget: str | None = None) -> list[str]:
    """References, tails, hidden directions, precision, untrained parts, refusals.

    Args:
        rows: of the comparison.
        budget: the time that was given to the draws, in words.
    """
    measured = of_whole_groups(rows)
    return [
        *_references(measured),
        *tails(measured),
        *_hidden_directions(measured),
        *_precision(measured, budget),
        *_untrained(rows),
        *_refusals(rows),
    ]


def _references(rows: Sequence[Row]) -> Iterator[str]:
    """The references with a larger error than asked for, and their errors."""
    errors: dict[tuple[Any, ...], tuple[float, Row]] = {}
    for row in rows:
        shared = row.cell._replace(estimator=""), row.group
        errors[shared] = number(row.reference_error), row
    missed = [
        (error, row)
        for error, row in errors.values()
        if error > row.reference_error_asked
    ]
    if not missed:
        return
    error, worst = max(missed, key=lambda pair: pair[0])
    size = "more than its norm" if np.isinf(error) else f"{short(error)} times its norm"
    cell = worst.cell
    step = f", step {cell.step}" if cell.step is not None else ""
    yield (
        f"{part_of(len(missed), len(errors), 'reference gradient')} not known to "
        f"{short(worst.reference_error_asked)} of the norm, as was asked for, and no "
        f"cosine to such a gradient is given. The error of the worst, {cell.model}"
        f"{step}, {cell.bound}, K = {cell.num_samples}, {worst.group}, is {size}. Use "
        "more draws, or a larger batch size."
    )


def tails(rows: Sequence[Statistics]) -> Iterator[str]:
    """The number of unsafe intervals, and why they are unsafe."""
    if not (marked := [row for row in rows if unsafe(row)]):
        return
    known = values_of(marked, "pareto_k")
    largest = max(known[np.isfinite(known)], default=None)
    heaviest = "" if largest is None else f"the largest Pareto k is {largest:.2f}, "
    fewest = min(int(row.get("draws")) for row in marked)
    yield (
        f"{part_of(len(marked), len(rows), 'estimate')} marked † ({heaviest}the fewest "
        f"draws are {fewest:,}): with heavy tails, or too few draws to show a tail, an "
        "interval may miss the truth more often than it says. Use more draws."
    )


def _hidden_directions(rows: Sequence[Row]) -> Iterator[str]:
    """The number of cosines not given because the noise hides the mean gradient."""
    known = [
        row
        for row in rows
        if number(row.reference_error) <= number(row.reference_error_asked)
    ]
    if hidden := [row for row in known if row.get("cosine") is None]:
        yield (
            f"No cosine is given of {len(hidden)} of "
            f"{number_of(len(known), 'mean gradient')}: noise hides a direction where "
            f"the squared length is below {SEEN:g} times its own error; use more draws."
        )


def _precision(rows: Sequence[Row], budget: str | None) -> Iterator[str]:
    """The precision reached within the time."""
    if not (rows and budget):
        return
    draws = [int(number(row.draws)) for row in rows]
    errors = [
        quantiles([row])[0]
        * number(row.get("variance_stderr"))
        / number(row.get("variance"))
        for row in rows
        if number(row.get("variance")) > 0
    ]
    biases = dict(zip(map(id, rows), least_found(rows), strict=True))
    texts = ranges(rows, biases)
    seen = f", and would show squared biases of {texts}" * bool(texts)
    yield (
        f"The budget of {budget}, references, splits and costs not counted, bought "
        f"{span(f'{min(draws):,}', f'{max(draws):,}')} draws a cell: they estimate the "
        f"variances to {span(f'±{min(errors):.1%}', f'±{max(errors):.1%}')}{seen}."
    )


def ranges(rows: Sequence[Row], values: dict[int, float]) -> str:
    """The smallest and the largest value of each group that has any, by id of a row."""
    texts = []
    rows = [row for row in rows if np.isfinite(values[id(row)])]
    for group in distinct(row.group for row in rows):
        found = [values[id(row)] for row in rows if row.group == group]
        ends = span(short(min(found), 2), short(max(found), 2))
        texts.append(f"{ends} ({group})")
    return ", ".join(texts)


def _untrained(rows: Sequence[Row]) -> Iterator[str]:
    names = distinct(
        row.cell.estimator
        for row in rows
        if str(row.verdict.reason).endswith(AS_INITIALISED)
    )
    if names:
        yield (
            f"What {', '.join(names)} could learn beside the model is as initialised: "
            "trained with it, a control variate may leave less variance."
        )


def reason_at_any_k(row: Row) -> str:
    """The reason for a refusal, without numbers, which may be those of the cell's K."""
    return re.sub(r"\d+", "#", str(row.verdict.reason))


def _refusals(rows: Sequence[Row]) -> Iterator[str]:
    refused = [row for row in rows if row.refused]
    if not refused:
        return
    cells = {row.cell for row in rows}
    alike: dict[str, list[Row]] = {}
    for row in refused:
        alike.setdefault(reason_at_any_k(row), []).append(row)
    texts = [
        f"{', '.join(distinct(row.cell.estimator for row in members))} "
        f"({members[0].verdict.reason})"
        for members in alike.values()
    ]
    more = f"; {len(texts) - SHOWN} more are in the column reason" * (
        len(texts) > SHOWN
    )
    yield (
        f"{part_of(len(refused), len(cells), 'cell')} refused, for "
        f"{number_of(len(texts), 'reason')}: "
        f"{'; '.join(texts[:SHOWN])}{more}."
    )
