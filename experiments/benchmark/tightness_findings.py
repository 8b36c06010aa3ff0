"""The findings of a comparison of bounds, in words.

A gap is log p(x) minus the bound. Where the weights' variance is finite, IWAE's gap
falls as 1/K; the slope is that of K^-b, fitted to the gaps with their errors, at every
K where theory's leading order is at most 0.01 nats.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import norm

from experiments.benchmark.tightness_cells import Reference, TightnessRow
from vaejax.benchmark.numbers import number_of, short, with_error
from vaejax.benchmark.statistics import values_of

LEADING = 0.01  # nats: below this, the next order is small beside the leading order
NORMAL_95 = 1.96
FALSE_ALARMS = 0.01  # probability, over all cells of lower bounds


def findings(
    name: str, rows: Sequence[TightnessRow], reference: Reference
) -> list[str]:
    """The findings in sentences; all figures in them come from the rows."""
    measured = [row for row in rows if row.kind != "refused"]
    sentences = [_of_reference(name, reference)]
    if measured:
        sentences += _at_largest(measured)
        sentences += [
            _of_slope(bound, fit) for bound, fit in slopes(rows).items() if fit
        ]
        sentences += _of_upper(measured)
        if reference.is_exact:
            sentences.append(_of_lower(measured))
        sentences.append(_of_weights(measured))
    return sentences


def cautions(rows: Sequence[TightnessRow]) -> list[str]:
    """The sentences on what no finding rests on: no bounds, no fits, refused cells."""
    unfitted = [bound for bound, fit in slopes(rows).items() if fit is None]
    sentences = _of_none(rows)
    if unfitted:
        sentences.append(
            f"No slope is fitted to the gap of {', '.join(unfitted)}: fewer than three "
            f"K at which theory's leading order is at most {LEADING} nats."
        )
    by_reason: dict[str, list[str]] = {}
    for cell, reason in refusals(rows).items():
        by_reason.setdefault(reason, []).append(cell)
    sentences += [
        f"Refused: {'; '.join(cells)}, because {reason}."
        for reason, cells in by_reason.items()
    ]
    return sentences


def slopes(rows: Sequence[TightnessRow]) -> dict[str, dict[str, float] | None]:
    """The slope of every bound with a theory of its closing gap."""
    return {bound: slope(members) for bound, members in _closing(rows).items()}


def slope(rows: Sequence[TightnessRow]) -> dict[str, float] | None:
    """The slope of log gap in log K, with its 95% half-width, from at least three K."""
    leading = [row.log_px - row.leading_order for row in rows]
    fitted = [row for row, gap in zip(rows, leading, strict=True) if gap <= LEADING]
    if len(fitted) < 3 or min(row.gap_stderr for row in fitted) == 0:
        return None
    k, gap, stderr = (
        values_of(fitted, name) for name in ("num_samples", "gap", "gap_stderr")
    )
    (_, power), covariance = curve_fit(
        lambda k, log_scale, power: np.exp(log_scale - power * np.log(k)),
        *(k, gap),
        p0=(np.log((np.array(leading)[-len(k) :] * k).mean()), 1.0),
        sigma=stderr,
        absolute_sigma=True,
    )
    half = NORMAL_95 * np.sqrt(covariance[1, 1])
    return {"slope": -float(power), "half_width": float(half), "from_k": float(k[0])}


def refusals(rows: Sequence[TightnessRow]) -> dict[str, str]:
    """The reason of every refused cell, by the cell's name."""
    return {
        f"{row.bound} at K = {row.num_samples}": str(row.refusal)
        for row in rows
        if row.kind == "refused"
    }


def _closing(rows: Sequence[TightnessRow]) -> dict[str, list[TightnessRow]]:
    """The cells with a theory of the closing gap, by bound, in order of K."""
    found: dict[str, list[TightnessRow]] = {}
    for row in sorted(rows, key=lambda row: row.num_samples):
        closes = np.isclose(row.limit, row.log_px, rtol=0, atol=1e-6)
        if closes and not np.isnan(row.leading_order):
            found.setdefault(row.bound, []).append(row)
    return found


def _of_reference(name: str, reference: Reference) -> str:
    count = len(reference.log_px)
    value = reference.log_px.mean()
    where = f"log p(x) of {name}, mean over {count} observations"
    if reference.is_exact:
        second, first = reference.moment(2.0), reference.moment(1.0)
        if first is None or second is None:
            variance = "infinite, or its integral does not converge"
        else:
            variance = f"{np.expm1(second - 2 * first).mean():.3g} on average"
        return (
            f"{where}, is {value:.5f} nats, exactly. The relative variance of the "
            f"weights is {variance}."
        )
    stderr = np.sqrt((reference.stderr**2).sum()) / count
    below = "unknown" if reference.shortfall is None else f"{reference.shortfall:.2g}"
    k = reference.pareto_k_above
    untold = "" if k is None else f"; Pareto k is above 0.7 for {k:.0%} of them"
    return (
        f"{where}, is estimated by {reference.source}: {with_error(value, stderr)} "
        f"nats. The estimate is too low by {below} on average (delta method){untold}."
    )


def _at_largest(rows: Sequence[TightnessRow]) -> list[str]:
    largest = max(row.num_samples for row in rows)
    there = [r for r in rows if r.num_samples == largest and r.kind != "none"]
    if not there:
        return []
    there.sort(key=lambda row: abs(row.gap))
    gaps = ", ".join(
        f"{row.bound} {with_error(row.gap, row.gap_stderr)}" for row in there
    )
    rounded = [row for row in there if row.rounding > row.stderr]
    shifted = "".join(
        f" Rounding shifts {row.bound} there by up to "
        f"{row.rounding:.1g}, which is more than its Monte Carlo error."
        for row in rounded
    )
    return [
        f"At K = {largest}, log p(x) minus each bound, in nats, smallest gap first: "
        f"{gaps}."
        f"{shifted}"
    ]


def _of_none(rows: Sequence[TightnessRow]) -> list[str]:
    names = dict.fromkeys(row.bound for row in rows if row.kind == "none")
    if not names:
        return []
    return [
        f"{', '.join(names)}: not a bound on log p(x). The distance of an objective of "
        'kind "none" from log p(x) says nothing about its quality.'
    ]


def _of_slope(bound: str, fit: dict[str, float]) -> str:
    return (
        f"The gap of {bound} falls with K: its log-log slope is {fit['slope']:.3f} ± "
        f"{fit['half_width']:.3f} (95%) from K = {fit['from_k']:.0f} on, and -1 in "
        "theory, to leading order."
    )


def _of_upper(rows: Sequence[TightnessRow]) -> list[str]:
    sentences = []
    for bound in dict.fromkeys(row.bound for row in rows if row.kind == "upper"):
        members = [row for row in rows if row.bound == bound]
        above = [
            row.num_samples for row in members if -row.gap > NORMAL_95 * row.gap_stderr
        ]
        where = "at no K" if not above else f"at K = {', '.join(map(str, above))}"
        last = max(members, key=lambda row: row.num_samples)
        limit = ""
        if not np.isnan(last.limit):
            beyond = last.limit - last.log_px
            limit = f" As K grows, it stays {short(beyond)} nats above log p(x)."
        sentences.append(
            f"{bound}, an upper bound at large K, is above log p(x), by more than its "
            f"95% error, {where}.{limit}"
        )
    return sentences


def _of_lower(rows: Sequence[TightnessRow]) -> str:
    """The sentence on lower bounds that lie above log p(x) by more than chance."""
    lower = [row for row in rows if row.kind == "lower"]
    scores = {
        f"{row.bound} at K = {row.num_samples}": -row.gap
        / np.hypot(row.gap_stderr, row.rounding)
        for row in lower
    }
    if not scores:
        return "No lower bound was asked for."
    limit = norm.isf(FALSE_ALARMS / len(scores))
    wrong = [cell for cell, z in scores.items() if z > limit]
    return (
        f"{len(wrong) or 'None'} of {number_of(len(scores), 'cell')} of lower bounds "
        "is above log p(x) by more than chance explains "
        f"(largest z {max(scores.values()):.2f}, limit {limit:.2f})"
        + (f": {', '.join(wrong)}." if wrong else ".")
    )


def _of_weights(rows: Sequence[TightnessRow]) -> str:
    by_k = {row.num_samples: row for row in rows}
    last = by_k[max(by_k)]
    sizes = [
        f"{short(100 * by_k[k].relative_ess)}% of K at K = {k}"
        for k in sorted({min(by_k), max(by_k)})
    ]
    k = last.pareto_k
    tail = (
        "too few weights for a Pareto k"
        if np.isnan(k)
        else f"there the median Pareto k is {k:.2f}, and k is above 0.7 in "
        f"{last.above:.0%} of the fits"
    )
    return f"The effective sample size is {' and '.join(sizes)}; {tail}."
