"""Numbers in words, tables and figures: one way to write each kind.

A dagger marks a number whose error is not reliable (`cautions.DAGGER`).
"""

import math
from collections.abc import Mapping
from typing import Any

from vaejax.benchmark.statistics import Statistics, near_floor, number, unsafe


def short(value: float, digits: int = 3) -> str:
    """A few significant digits, in full from 0.0001 to a million: 4,070, not 4.07e+03.

    Examples:
        >>> short(4068.7), short(0.000123), short(1.23e-7), short(1.0)
        ('4,070', '0.000123', '1.23e-07', '1')
    """
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if 1e4 <= abs(rounded) < 1e6 else f"{rounded:,g}"


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with None for a number that is unknown or infinite."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def number_of(count: int, noun: str) -> str:
    """A count and its noun, in the plural unless the count is 1.

    Examples:
        >>> number_of(1, "cell"), number_of(1200, "cell")
        ('1 cell', '1,200 cells')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def part_of(part: int, count: int, noun: str) -> str:
    """A part of a count as the subject of a sentence, with its verb.

    Examples:
        >>> part_of(1, 6, "cell"), part_of(2, 6, "cell")
        ('1 of 6 cells is', '2 of 6 cells are')
    """
    return f"{part:,} of {number_of(count, noun)} {'is' if part == 1 else 'are'}"


def span(low: str, high: str) -> str:
    """Both ends of a range, or the only value where the two are written alike.

    Examples:
        >>> span("2.4", "3.1"), span("2.4", "2.4")
        ('2.4 to 3.1', '2.4')
    """
    return low if low == high else f"{low} to {high}"


def flag(row: Statistics) -> str:
    """A dagger where the row's intervals are unsafe."""
    return " †" * unsafe(row)


def estimate(row: Statistics, name: str) -> str:
    """A statistic with its standard error in two digits, "" if it is unknown."""
    value, error = number(row.get(name)), number(row.get(f"{name}_stderr"))
    if not math.isfinite(value):
        return ""
    return with_error(value, error) + flag(row) * (error > 0)


def with_error(value: float, error: float) -> str:
    """A value with its standard error in two digits, where there is an error.

    An error below 1e-7 of the value is float32 rounding, and is left out.

    Examples:
        >>> with_error(-3.17249, 0.000123), with_error(3e-6, 5e-6), with_error(2.5, 0.0)
        ('-3.17249 ± 0.00012', '3.0e-06 ± 5.0e-06', '2.5')
        >>> with_error(1.3e7, 1.5e-8)
        '1.3e+07'
    """
    if not error > 1e-7 * abs(value):
        return short(value)
    power = math.floor(math.log10(max(abs(value), error)))
    scale, exponent = (1.0, "") if -5 < power < 6 else (10.0**power, f"e{power:+03d}")
    decimals = max(0, 1 - math.floor(math.log10(error / scale)))
    shown = round(value / scale, decimals) + 0.0  # no -0.0
    return f"{shown:,.{decimals}f}{exponent} ± {error / scale:,.{decimals}f}{exponent}"


def plain_snr(row: Statistics) -> str:
    """The `snr` with its error, marked where it may be mostly its noise floor."""
    return estimate(row, "snr") + " (floor)" * near_floor(row)
