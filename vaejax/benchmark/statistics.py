"""Statistics of the rows of a comparison: intervals, and tests of many cells at once.

A row gives a statistic by its name: a `vaejax.benchmark.rows.Row`, or a line of
another experiment. Intervals are by Student's t of the folds that the errors are from.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from scipy.special import stdtrit

Line = Mapping[str, Any]  # a line of results.csv


@runtime_checkable
class Statistics(Protocol):
    """A row that gives its statistics by name, None or NaN where unknown."""

    def get(self, name: str, /) -> Any:
        """The statistic."""


Name = TypeVar("Name", bound=Hashable)

# Statistics that may be below 0.
SIGNED = ("bias_squared", "cosine", "draw_cosine")
FOUND = 0.95  # the chance of finding a bias that is called detectable
FALSE_ALARMS = 0.05  # the chance of any false alarm in all rows together


def number(value: Any) -> float:
    """A cell of a CSV or JSON row as a float; NaN where it is empty or infinite."""
    value = float("nan") if value is None or value == "" else float(value)
    return value if np.isfinite(value) else float("nan")


def values_of(rows: Sequence[Statistics], name: str) -> np.ndarray:
    """A column as floats, NaN where it is missing."""
    return np.array([number(row.get(name)) for row in rows], float)


def interval(
    rows: Sequence[Statistics], statistic: str
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the 95% intervals, NaN where the error is unknown."""
    low, high = f"{statistic}_low", f"{statistic}_high"
    if any(row.get(low) is not None for row in rows):  # the statistic has its own ends
        return values_of(rows, low), values_of(rows, high)
    value = values_of(rows, statistic)
    # The error of a time is in the column seconds_stderr.
    name = statistic.replace("seconds_per_gradient", "seconds")
    half = quantiles(rows) * values_of(rows, f"{name}_stderr")
    if statistic in SIGNED:
        return value - half, value + half
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.exp(np.minimum(half / value, 50))
    return value / factor, value * factor


def quantiles(rows: Sequence[Statistics], level: float = 0.025) -> np.ndarray:
    """Student's t of the rows' folds at a level; the normal where they have none."""
    folds = values_of(rows, "folds")
    return stdtrit(np.where(np.isfinite(folds), folds - 1, np.inf), 1 - level)


def unsafe(row: Statistics) -> bool:
    """True if the intervals are not reliable: see `safe` of a `GroupReport`."""
    return str(row.get("safe")) == "False"


def noise_floor(row: Statistics) -> float:
    """The `snr` of the row's number of draws where the true gradient is zero."""
    return float(np.sqrt(2 / (np.pi * number(row.get("draws")))))


def near_floor(row: Statistics) -> bool:
    """True if the `snr` may be mostly noise: below 3 noise floors."""
    return number(row.get("snr")) < 3 * noise_floor(row)


def in_errors(row: Statistics) -> float | None:
    """The length of the bias in standard errors of the mean of the draws.

    sqrt(max(bias_squared, 0)) / sqrt(tr Cov(g) / n), of one parameter |bias| / (sd /
    sqrt n); a drawn reference's error does not count. None where the length is unknown.
    """
    value, variance = (number(row.get(name)) for name in ("bias_squared", "variance"))
    square = variance / number(row.get("draws"))
    return np.sqrt(max(value, 0.0) / square) if np.isfinite(value / square) else None


def ratio_interval(
    above: Statistics,
    below: Statistics,
    comparisons: int = 1,
    columns: tuple[str, str] = ("variance", "variance_stderr"),
) -> tuple[float, float, float]:
    """The ratio of two rows' variances, and its 95% interval.

    By the delta method on logarithms: log(a / b) +- t sqrt((se_a / a)^2 + (se_b /
    b)^2), with Student's t of the folds, corrected for the number of comparisons. Rows
    that share their random keys share their errors, too, by which the interval is on
    the safe side. `columns` may name another statistic and its standard error.
    """
    (a, b), errors = (
        np.array([number(row.get(column)) for row in (above, below)])
        for column in columns
    )
    errors = errors / (a, b)
    quantile = quantiles([above, below], 0.025 / comparisons).max()
    spread = float(np.exp(quantile * np.linalg.norm(errors)))
    return a / b, a / b / spread, a / b * spread


def least_seen(rows: Sequence[Statistics]) -> np.ndarray:
    """The estimate of the bias above which each row's bias is more than noise.

    The limit is stderr times Student's t of one-sided tests of all rows at
    `FALSE_ALARMS`, by Bonferroni. Without a bias, the estimate has a longer tail than
    t; but its standard error, from the same draws, then is on the safe side, and by
    simulation the false alarms are no more than stated.

    Returns:
        [rows]; NaN for a row that cannot be tested: without a bias or its error, or
        without any error at all.
    """
    stderr = values_of(rows, "bias_squared_stderr")
    known = _tested(rows)
    return np.where(known, _corrected(rows, known) * stderr, np.nan)


def least_found(rows: Sequence[Statistics]) -> np.ndarray:
    """The true squared bias whose estimate is above `least_seen` with chance `FOUND`.

    The bias x lies t_95 of its standard errors above the limit, t of them:
    x^2 = (t + t_95)^2 (noise^2 + growth x). The growth follows from
    `bias_squared_detectable`, the same x for a single test at 5%. By simulation x is
    found with chance `FOUND` or more.

    Returns:
        [rows]; NaN where `least_seen` is, and without `bias_squared_noise` or
        `bias_squared_detectable`.
    """
    noise, single = (
        values_of(rows, f"bias_squared_{name}") for name in ("noise", "detectable")
    )
    reach = quantiles(rows, 1 - FOUND)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.maximum((single / (2 * reach)) ** 2 - noise**2, 0) / single
    known = _tested(rows)
    reach = reach + _corrected(rows, known)
    half = reach**2 * growth / 2
    return np.where(known, half + np.hypot(half, reach * noise), np.nan)


def _tested(rows: Sequence[Statistics]) -> np.ndarray:
    stderr = values_of(rows, "bias_squared_stderr")
    return np.isfinite(values_of(rows, "bias_squared")) & (stderr > 0)


def _corrected(rows: Sequence[Statistics], tested: np.ndarray) -> np.ndarray:
    """The t of each of several tests that together hold `FALSE_ALARMS`."""
    return quantiles(rows, FALSE_ALARMS / max(tested.sum(), 1))


def distinct(names: Iterable[Name]) -> list[Name]:
    """The names without repetition, in their first order."""
    return list(dict.fromkeys(names))
