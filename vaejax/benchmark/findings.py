"""The findings of a comparison of gradient estimators, each claim with its error.

Two variances are compared by their ratio. Its interval is by the delta method on
logarithms: log(a / b) +- t sqrt((se_a / a)^2 + (se_b / b)^2), with Student's t of the
folds, corrected for the number of estimators among which the named one was chosen. The
estimators share their random keys, and so their errors, by which the interval is on the
safe side. The signal-to-noise ratios reported have no noise floor. A dagger marks a
number that rests on heavy tails, or on too few draws to show one.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from vaejax.benchmark.cells import AS_INITIALISED
from vaejax.benchmark.direction import SEEN
from vaejax.benchmark.statistics import (
    FALSE_ALARMS,
    FOUND,
    SETTINGS,
    Line,
    distinct,
    least_found,
    least_seen,
    near_floor,
    number,
    quantiles,
    unsafe,
)

COSTS = {"seconds_per_gradient": "cost", "decoder_evaluations": "decoder evaluations"}
PLACE = ("model", "num_outer", "batch_size")  # fixed in a figure or claim


def findings(rows: Sequence[Line]) -> list[str]:
    """The claims, a sentence each: less variance, biases, and refusals.

    Faults of the run itself come first.
    """
    return [
        *_references(rows),
        *tails(rows),
        *_hidden_directions(rows),
        *_budget(rows),
        *_untrained(rows),
        *_comparisons(rows),
        *_along_training(rows),
        *_biases(rows),
        *_refusals(rows),
    ]


def places(rows: Sequence[Line]) -> dict[str, list[Line]]:
    """The rows of each place (model, M and batch size), by its name."""
    found: dict[str, list[Line]] = {}
    for row in rows:
        name = ", ".join(SETTINGS[key].format(row[key]) for key in PLACE)
        found.setdefault(name, []).append(row)
    return found


def of_whole_groups(rows: Sequence[Line]) -> list[Line]:
    """The measured rows of the parameter groups, without those of single layers."""
    return [r for r in rows if r["status"] != "refused" and "/" not in r["group"]]


def at_last_step(rows: Sequence[Line]) -> list[Line]:
    """The rows of the last checkpoint, or all where there is none."""
    steps = [number(row["step"]) for row in rows]
    last = max((step for step in steps if np.isfinite(step)), default=None)
    return [row for row, step in zip(rows, steps, strict=True) if last in (None, step)]


def ratio_interval(
    above: Line,
    below: Line,
    comparisons: int = 1,
    columns: tuple[str, str] = ("variance", "variance_stderr"),
) -> tuple[float, float, float]:
    """The ratio of two rows' variances, and its 95% interval.

    `columns` may name another statistic and its standard error.
    """
    (a, b), errors = (
        np.array([number(row.get(column)) for row in (above, below)])
        for column in columns
    )
    errors = errors / (a, b)
    quantile = quantiles([above, below], 0.025 / comparisons).max()
    spread = float(np.exp(quantile * np.linalg.norm(errors)))
    return a / b, a / b / spread, a / b * spread


def _comparisons(rows: Sequence[Line]) -> Iterator[str]:
    """For each bound, the least variance at the largest K with several estimators."""
    for where, _, measured in _by_bound(rows):
        comparable: dict[int, list[Line]] = {}
        for row in at_last_step(measured):
            if row["status"] == "unbiased":
                comparable.setdefault(int(row["num_samples"]), []).append(row)
        if counts := [k for k, cells in comparable.items() if len(cells) > 1]:
            most = max(counts)
            yield _comparison(f"{where} at K = {most}", comparable[most])


def _by_bound(rows: Sequence[Line]) -> Iterator[tuple[str, str, list[Line]]]:
    """The rows of one group whose variance is known, for each place and bound."""
    several = places(rows)
    for place, members in several.items():
        measured = of_whole_groups(members)
        groups = distinct(row["group"] for row in measured)
        group = "encoder" if "encoder" in groups else next(iter(groups), "")
        for bound in distinct(row["bound"] for row in measured):
            where = f"On {place}: under" if len(several) > 1 else "Under"
            known = [
                row
                for row in measured
                if (row["bound"], row["group"]) == (bound, group)
                and number(row["variance"]) > 0
                and np.isfinite(number(row["variance_stderr"]))
            ]
            yield f"{where} {bound}", group, known


def _along_training(rows: Sequence[Line]) -> Iterator[str]:
    """The ratio of each estimator's last variance to its first, at the largest K."""
    for where, group, known in _by_bound(rows):
        most = max((int(row["num_samples"]) for row in known), default=0)
        known = [row for row in known if int(row["num_samples"]) == most]
        steps = sorted({number(row["step"]) for row in known})
        ends = {(row["estimator"], number(row["step"])): row for row in known}
        names = [
            name
            for name in distinct(row["estimator"] for row in known)
            if {(name, steps[0]), (name, steps[-1])} <= ends.keys()
        ]
        if len(steps) < 2 or not names:
            continue
        texts = []
        for name in names:
            first, last = (ends[name, step] for step in (steps[0], steps[-1]))
            ratio, low, high = map(_short, ratio_interval(last, first, len(names)))
            mark = flag(last) or flag(first)
            texts.append(f"{name} {ratio} (95% interval {low} to {high}{mark})")
        yield (
            f"{where} at K = {most}, the {group} variance at step {steps[-1]:.0f} is "
            f"so many times that at step {steps[0]:.0f}: {', '.join(texts)}."
        )


def _comparison(where: str, rows: list[Line]) -> str:
    """Compare the least variance with the first estimator's, or else the next least."""
    best, following, *_ = sorted(rows, key=lambda row: number(row["variance"]))
    other = rows[0] if rows[0] is not best else following
    ratio, low, high = ratio_interval(other, best, comparisons=len(rows) - 1)
    names = best["estimator"], other["estimator"]
    mark = flag(best) or flag(other)
    interval = f"95% interval {_short(low)} to {_short(high)}{mark}"
    group = best["group"]
    if low <= 1:
        return (
            f"{where}, the {group} variances of {names[0]} and {names[1]} cannot be "
            f"told apart: their ratio is {_short(ratio)} ({interval})."
        )
    at_cost = ""
    for name, words in COSTS.items():
        cost, *ends = ratio_interval(best, other, columns=(name, "seconds_stderr"))
        if np.isfinite(cost):
            at_cost = f" at {cost:.3g} times the {words}"
            if name == "seconds_per_gradient" and np.isfinite(ends).all():
                at_cost += f" ({_short(ends[0])} to {_short(ends[1])})"
            break
    snr = [estimate(row, "rms_snr") for row in (best, other)]
    signal = f"; its rms signal-to-noise ratio is {snr[0]} against {snr[1]}"
    return (
        f"{where}, {names[0]} has {_short(ratio)} times less {group} variance than "
        f"{names[1]} ({interval}){at_cost}{signal * all(snr)}."
    )


def _short(value: float) -> str:
    """Three digits, in full: 4,070 rather than 4.07e+03."""
    return f"{float(f'{value:.3g}'):,g}"


def flag(row: Line) -> str:
    """A dagger where the row's intervals are unsafe."""
    return " †" * unsafe(row)


def in_errors(row: Line) -> float | None:
    """The length of the bias in standard errors of the mean of the draws.

    sqrt(max(bias_squared, 0)) / sqrt(tr Cov(g) / n), of one parameter |bias| / (sd /
    sqrt n); a drawn reference's error does not count. None where the length is unknown.
    """
    value, variance = (number(row.get(name)) for name in ("bias_squared", "variance"))
    square = variance / number(row.get("draws"))
    return np.sqrt(max(value, 0.0) / square) if np.isfinite(value / square) else None


def estimate(row: Line, name: str) -> str:
    """A statistic with its standard error in two digits, "" if it is unknown."""
    value, error = number(row.get(name)), number(row.get(f"{name}_stderr"))
    if not np.isfinite(value):
        return ""
    if not error > 0:
        return f"{value:.3g}"
    power = int(np.floor(np.log10(max(abs(value), error))))
    scale, exponent = (1.0, "") if -4 < power < 5 else (10.0**power, f"e{power:+03d}")
    decimals = max(0, 1 - int(np.floor(np.log10(error / scale))))
    return (
        f"{value / scale:.{decimals}f}{exponent} ± "
        f"{error / scale:.{decimals}f}{exponent}{flag(row)}"
    )


def plain_snr(row: Line) -> str:
    """The `snr` with its error, marked where it may be mostly its noise floor."""
    return estimate(row, "snr") + " (floor)" * near_floor(row)


def _biases(rows: Sequence[Line]) -> Iterator[str]:
    """The biases beyond noise, and the least bias that would have been seen."""
    rows = of_whole_groups(rows)
    limits = dict(zip(map(id, rows), least_seen(rows), strict=True))
    tested = [row for row in rows if np.isfinite(limits[id(row)])]
    found = [row for row in tested if number(row["bias_squared"]) > limits[id(row)]]
    unbiased = [row for row in tested if row["status"] == "unbiased"]
    wrong = [row for row in found if row["status"] == "unbiased"]
    corrected = f"corrected for {len(tested)} tests at {FALSE_ALARMS:.0%}"
    if wrong:
        yield f"Declared unbiased, yet with a bias, {corrected}: {_named(wrong)}."
    if known := [row for row in found if row["status"] == "biased"]:
        yield f"Biased as declared, {corrected}: {_named(known)}."
    pairs = {_pair(row) for row in tested if row["status"] == "biased"}
    if missed := sorted(pairs - set(map(_pair, found))):
        yield f"Declared biased, with no bias seen: {', '.join(missed)}."
    if unbiased and not wrong:
        smallest = dict(zip(map(id, rows), least_found(rows), strict=True))
        found_by = ""
        if ranges := _ranges(unbiased, smallest):
            found_by = (
                f" A squared bias of {ranges}, depending on the cell, would have been "
                f"found with a chance of {FOUND:.0%} or more."
            )
        yield (
            f"No bias is seen in {len(unbiased)} estimates that are declared unbiased."
            f"{found_by}"
        )


def _references(rows: Sequence[Line]) -> Iterator[str]:
    """The references with a larger error than asked for, and their errors."""
    errors: dict[tuple, float] = {}
    for row in of_whole_groups(rows):
        key = *(row[name] for name in _SET), row["group"]
        errors[key] = number(row.get("reference_error"))
    asked = number(rows[0].get("reference_error_asked"))
    if not (missed := [key for key, error in errors.items() if error > asked]):
        return
    worst = max(missed, key=errors.__getitem__)
    size = f"{errors[worst]:.2g} times its norm"
    if np.isinf(errors[worst]):
        size = "more than its norm"
    told = dict(zip(_SET, worst, strict=False))
    step = f", step {told['step']}" if told["step"] is not None else ""
    yield (
        f"{len(missed)} of {len(errors)} reference gradients, of a bound, K and group, "
        f"are not known to {asked:.2g} of their norm, as was asked for: no cosine to "
        f"them is given. The error of the worst, {told['model']}{step}, "
        f"{told['bound']}, K = {told['num_samples']}, {worst[-1]}, is {size}. Use more "
        "--draws, or a larger --batch-size."
    )


def tails(rows: Sequence[Line]) -> Iterator[str]:
    """The number of unsafe intervals, and the reasons."""
    measured = of_whole_groups(rows)
    if not (marked := [row for row in measured if unsafe(row)]):
        return
    known = [number(row["pareto_k"]) for row in marked if row["pareto_k"] is not None]
    heaviest = f" (the largest Pareto k is {max(known):.2f})" if known else ""
    fewest = min(int(row["draws"]) for row in marked)
    yield (
        f"{len(marked)} of {len(measured)} estimates are marked †: the squared "
        f"deviations of their gradients have heavy tails{heaviest}, or the draws are "
        f"too few to show one (the fewest are {fewest:,}). "
        "Their intervals, above all of variances and signal-to-noise ratios, may hold "
        "the truth less often than is said: use more --draws."
    )


def _hidden_directions(rows: Sequence[Line]) -> Iterator[str]:
    """The number of cosines not given because the noise hides the mean gradient."""
    measured = [
        row
        for row in of_whole_groups(rows)
        if number(row.get("reference_error"))
        <= number(row.get("reference_error_asked"))
    ]
    if hidden := [row for row in measured if row["cosine"] is None]:
        yield (
            f"No cosine is given of {len(hidden)} of {len(measured)} mean gradients: "
            f"noise hides their direction, as their squared lengths are below {SEEN:g} "
            "times their own error; use more --draws."
        )


def _budget(rows: Sequence[Line]) -> Iterator[str]:
    """The precision reached within the time."""
    measured = of_whole_groups(rows)
    if not measured or not measured[0].get("budget"):
        return
    draws = [int(row["draws"]) for row in measured]
    errors = [
        quantiles([row])[0] * number(row["variance_stderr"]) / number(row["variance"])
        for row in measured
        if number(row["variance"]) > 0
    ]
    biases = dict(zip(map(id, measured), least_found(measured), strict=True))
    known = [row for row in measured if np.isfinite(biases[id(row)])]
    seen = f", and would show squared biases of {_ranges(known, biases)}"
    yield (
        f"The budget of {measured[0]['budget']}, references, splits and costs not "
        f"counted, bought {min(draws):,} to {max(draws):,} draws a cell: they "
        f"estimate the variances to ±{min(errors):.1%} to ±{max(errors):.1%}"
        f"{seen * bool(known)}."
    )


def _untrained(rows: Sequence[Line]) -> Iterator[str]:
    names = distinct(
        row["estimator"] for row in rows if str(row["reason"]).endswith(AS_INITIALISED)
    )
    if names:
        yield (
            f"What {', '.join(names)} could learn beside the model is as initialised: "
            "trained with it, a control variate may leave less variance."
        )


def _pair(row: Line) -> str:
    return f"{row['estimator']} under {row['bound']}"


def _named(rows: list[Line]) -> str:
    """Each estimator and bound with its Ks, and the largest of its biases."""
    texts = []
    for pair, cells in groupby(sorted(rows, key=_pair), _pair):
        members = list(cells)
        counts = sorted({int(row["num_samples"]) for row in members})
        worst = max(members, key=lambda row: in_errors(row) or 0.0)
        texts.append(
            f"{pair}, K = {', '.join(map(str, counts))} (up to {in_errors(worst):.3g} "
            f"standard errors: bias squared {estimate(worst, 'bias_squared')}, "
            f"{worst['group']}, K = {worst['num_samples']})"
        )
    return "; ".join(texts)


def _ranges(rows: list[Line], values: dict[int, float]) -> str:
    """The smallest and the largest value of each group that has any."""
    texts = []
    rows = [row for row in rows if np.isfinite(values[id(row)])]
    for group in distinct(row["group"] for row in rows):
        found = [values[id(row)] for row in rows if row["group"] == group]
        texts.append(f"{min(found):.2g} to {max(found):.2g} ({group})")
    return ", ".join(texts)


def reason_at_any_k(row: Line) -> str:
    """The reason for a refusal, without numbers, which may be those of the cell's K."""
    return re.sub(r"\d+", "#", str(row["reason"]))


def _refusals(rows: Sequence[Line]) -> Iterator[str]:
    refused = [row for row in rows if row["status"] == "refused"]
    if not refused:
        return
    cells = {tuple(row[key] for key in _CELL) for row in rows}
    reasons = set(map(reason_at_any_k, refused))
    yield (
        f"{len(refused)} of {len(cells)} cells are refused, for {len(reasons)} "
        f"reason{'s' * (len(reasons) > 1)}: they are hatched in the map, and listed "
        "with the reasons."
    )


_SET = (*PLACE, "step", "bound", "num_samples")  # cells of a set share a reference
_CELL = (*_SET, "estimator")
