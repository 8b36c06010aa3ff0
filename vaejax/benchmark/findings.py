"""The findings of a comparison of gradient estimators, each claim with its error.

Two variances are compared by their ratio, whose interval is corrected for the number of
estimators among which the named one was chosen. The signal-to-noise ratios have no
noise floor.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from vaejax.benchmark.cautions import cautions, ranges
from vaejax.benchmark.numbers import estimate, flag, number_of, short
from vaejax.benchmark.rows import Row, at_last_step, of_whole_groups, places
from vaejax.benchmark.statistics import (
    FALSE_ALARMS,
    FOUND,
    distinct,
    in_errors,
    least_found,
    least_seen,
    number,
    ratio_interval,
)

ROUNDING = 1e5  # a ratio of signal to noise above which the noise is float32 rounding
COSTS = {"seconds_per_gradient": "cost", "decoder_evaluations": "decoder evaluations"}


class Finding(NamedTuple):
    """A claim in words, the numbers behind it, and whether they decide it."""

    claim: str
    numbers: str = ""
    decided: bool = True  # False where the noise leaves the question open

    def __str__(self) -> str:
        """The claim, with its numbers in brackets."""
        return f"{self.claim[:-1]} ({self.numbers})." if self.numbers else self.claim


def findings(rows: Sequence[Row], budget: str | None = None) -> list[Finding]:
    """The answers, then the cautions: what the numbers leave open."""
    return [*answers(rows), *map(Finding, cautions(rows, budget))]


def answers(rows: Sequence[Row]) -> list[Finding]:
    """The claims about the estimators: variances compared, and biases.

    A bias that should not be is said first.
    """
    wrong, others = _biases(rows)
    return [*wrong, *_comparisons(rows), *_along_training(rows), *others]


def _comparisons(rows: Sequence[Row]) -> Iterator[Finding]:
    """The least variance under each bound, at the largest K of several estimators."""
    for where, _, measured in _by_bound(rows):
        comparable: dict[int, list[Row]] = {}
        silent: list[str] = []
        for row in at_last_step(measured):
            if number(row.get("rms_snr")) > ROUNDING:
                silent.append(row.cell.estimator)
            elif row.verdict.status == "unbiased":
                comparable.setdefault(row.cell.num_samples, []).append(row)
        if silent:
            names = ", ".join(distinct(silent))
            yield Finding(f"{where}, the draws of {names} are equal, up to rounding.")
        if counts := [k for k, cells in comparable.items() if len(cells) > 1]:
            most = max(counts)
            yield _comparison(f"{where} at K = {most}", comparable[most])


def _by_bound(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """The rows of one group whose variance is known, for each place and bound."""
    several = places(rows)
    for place, members in several.items():
        measured = of_whole_groups(members)
        groups = distinct(row.group for row in measured)
        group = "encoder" if "encoder" in groups else next(iter(groups), "")
        for bound in distinct(row.cell.bound for row in measured):
            where = f"On {place}: under" if len(several) > 1 else "Under"
            known = [
                row
                for row in measured
                if (row.cell.bound, row.group) == (bound, group)
                and number(row.get("variance")) > 0
                and np.isfinite(number(row.get("variance_stderr")))
            ]
            yield f"{where} {bound}", group, known


def _comparison(where: str, rows: list[Row]) -> Finding:
    """Compare the least variance with the first estimator's, or else the next least."""
    best, following, *_ = sorted(rows, key=lambda row: number(row.get("variance")))
    other = rows[0] if rows[0] is not best else following
    ratio, low, high = ratio_interval(other, best, comparisons=len(rows) - 1)
    names = best.cell.estimator, other.cell.estimator
    mark = flag(best) or flag(other)
    interval = f"95% interval {short(low)} to {short(high)}{mark}"
    if low <= 1:
        return Finding(
            f"{where}, the draws do not show which of {names[0]} and {names[1]} has "
            f"less {best.group} variance.",
            f"their ratio is {short(ratio)}, {interval}",
            decided=False,
        )
    numbers = [interval]
    for name, words in COSTS.items():
        cost, *ends = ratio_interval(best, other, columns=(name, "seconds_stderr"))
        if not np.isfinite(cost):
            continue
        if np.isfinite(ends).all() and name == "seconds_per_gradient":
            words += f", {short(ends[0])} to {short(ends[1])}"
        if short(cost) != "1":
            numbers.append(f"at {short(cost)} times the {words}")
        break
    signals = [estimate(row, "rms_snr") for row in (best, other)]
    if all(signals):
        numbers.append(f"rms signal-to-noise ratio {signals[0]} against {signals[1]}")
    return Finding(
        f"{where}, {names[0]} has {short(ratio)} times less {best.group} variance "
        f"than {names[1]}.",
        "; ".join(numbers),
    )


def _along_training(rows: Sequence[Row]) -> Iterator[Finding]:
    """The ratio of each estimator's last variance to its first, at the largest K."""
    for where, group, known in _by_bound(rows):
        most = max((row.cell.num_samples for row in known), default=0)
        ends = {
            (row.cell.estimator, row.cell.step): row
            for row in known
            if row.cell.num_samples == most and row.cell.step is not None
        }
        steps = sorted({step for _, step in ends})
        names = [
            name
            for name in distinct(name for name, _ in ends)
            if {(name, steps[0]), (name, steps[-1])} <= ends.keys()
        ]
        if len(steps) < 2 or not names:
            continue
        texts = []
        for name in names:
            first, last = (ends[name, step] for step in (steps[0], steps[-1]))
            ratio, low, high = map(short, ratio_interval(last, first, len(names)))
            mark = flag(last) or flag(first)
            texts.append(f"{name} {ratio} (95% interval {low} to {high}{mark})")
        yield Finding(
            f"{where} at K = {most}, the {group} variance at step {steps[-1]}, divided "
            f"by that at step {steps[0]}, is: {', '.join(texts)}."
        )


def _biases(rows: Sequence[Row]) -> tuple[list[Finding], list[Finding]]:
    """The biases beyond noise that should not be, and all else about biases."""
    rows = of_whole_groups(rows)
    limits = dict(zip(map(id, rows), least_seen(rows), strict=True))
    tested = [row for row in rows if np.isfinite(limits[id(row)])]
    found = [r for r in tested if number(r.get("bias_squared")) > limits[id(r)]]
    unbiased = [row for row in tested if row.verdict.status == "unbiased"]
    wrong = [row for row in found if row.verdict.status == "unbiased"]
    corrected = (
        f"corrected for {number_of(len(tested), 'test')} at {FALSE_ALARMS:.0%}: "
    )
    alarms = [
        Finding(
            f"These are declared unbiased, but have a bias: {_pairs(wrong)}.",
            corrected + _largest(wrong),
        )
    ] * bool(wrong)
    others = []
    if known := [row for row in found if row.verdict.status == "biased"]:
        claim = f"These are declared biased, and are: {_pairs(known)}."
        others.append(Finding(claim, corrected + _largest(known)))
    pairs = {_pair(row) for row in tested if row.verdict.status == "biased"}
    if missed := sorted(pairs - set(map(_pair, found))):
        claim = f"These are declared biased, but no bias is seen: {', '.join(missed)}."
        others.append(Finding(claim, decided=False))
    if unbiased and not wrong:
        smallest = dict(zip(map(id, rows), least_found(rows), strict=True))
        found_by = ""
        if texts := ranges(unbiased, smallest):
            varies = ", depending on the cell," * (" to " in texts)
            found_by = (
                f"a squared bias of {texts}{varies} would have been found with a "
                f"chance of {FOUND:.0%} or more"
            )
        seen = number_of(len(unbiased), "estimate")
        claim = f"No bias is seen in {seen} declared unbiased."
        others.append(Finding(claim, found_by))
    return alarms, others


def _pair(row: Row) -> str:
    return f"{row.cell.estimator} under {row.cell.bound}"


def _by_pair(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    for pair, members in groupby(sorted(rows, key=_pair), _pair):
        yield pair, list(members)


def _pairs(rows: list[Row]) -> str:
    """Each estimator and bound, with its Ks."""
    texts = []
    for pair, members in _by_pair(rows):
        counts = sorted({row.cell.num_samples for row in members})
        texts.append(f"{pair}, K = {', '.join(map(str, counts))}")
    return "; ".join(texts)


def _largest(rows: list[Row]) -> str:
    """The largest bias of each estimator and bound."""
    texts = []
    pairs = list(_by_pair(rows))
    for pair, members in pairs:
        worst = max(members, key=lambda row: in_errors(row) or 0.0)
        named = f"{pair}, " * (len(pairs) > 1)
        texts.append(
            f"{named}up to {short(in_errors(worst) or 0.0)} standard errors, bias "
            f"squared {estimate(worst, 'bias_squared')} of the {worst.group} at K = "
            f"{worst.cell.num_samples}"
        )
    return "; ".join(texts)
