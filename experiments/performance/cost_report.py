"""The report on measured costs: a line through every curve, and the points off it.

The time of a call with x units of work (samples, examples, weights of the network,
seeds) is a + b x where it is linear: a is paid once, b for each unit. The line, with a
and b not negative, has the smallest squared relative errors; a point more than 1.5
times above or below the line is off the linear regime.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from experiments.harness import run_folder
from experiments.harness.result_table import write_csv
from vaejax.plotting import cost_curves, save

OFF = 1.5
UNITS = {
    "num_samples": "sample",
    "batch_size": "example",
    "width": "weight",
    "num_seeds": "seed",
}
COUNTED = ("batch_size", "num_seeds")  # axes along which the number of images varies
COLUMNS = (
    *("work", "axis", "value", "seconds_per_image", "fastest", "slowest"),
    *("line_seconds_per_image", "off", "peak_bytes"),
)

Rows = list[dict[str, Any]]


def num_weights(width: np.ndarray) -> np.ndarray:
    """The weights of 784-width-width-100 and 50-width-width-784, a product's work."""
    return (784 + 100 + 50 + 784) * width + 2 * width**2


def with_lines(rows: Rows) -> tuple[Rows, list[str]]:
    """Add each curve's line to its rows; report where the curve leaves the line.

    A single point has no line.
    """
    found: Rows = []
    findings = []
    for (work, axis), curve in groupby(rows, lambda row: (row["work"], row["axis"])):
        members = list(curve)
        if axis == "estimator" or len(members) < 2:
            no_line = {"line_seconds_per_image": None, "off": False}
            found += [row | no_line for row in members]
            continue
        value = np.array([row["value"] for row in members], float)
        seconds = np.array([row["seconds_per_image"] for row in members])
        units = num_weights(value) if axis == "width" else value
        # If the number of images varies, the line fits the time of all images together.
        calls = value if axis in COUNTED else np.ones_like(value)
        fixed, slope = fit_line(units, seconds * calls)
        line = (fixed + slope * units) / calls
        off = np.maximum(seconds / line, line / seconds) > OFF
        found += [
            row | {"line_seconds_per_image": float(expected), "off": bool(is_off)}
            for row, expected, is_off in zip(members, line, off, strict=True)
        ]
        findings.append(
            f"{work} against {axis}: {_in_words(axis, value, fixed, slope)}; "
            + _leaves(axis, value, seconds / line)
        )
    return found, findings


def ratios(names: Sequence[str], seconds: np.ndarray) -> list[str]:
    """The step time of each estimator, in steps of the first; [rounds, names]."""
    times = seconds / seconds[:, :1]
    return [
        f"a training step of {name} takes {np.median(ratio):.3f} times that of "
        f"{names[0]} ({ratio.min():.3f} to {ratio.max():.3f})"
        for name, ratio in zip(names[1:], times[:, 1:].T, strict=True)
    ]


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Fit a + b x to y > 0, a and b >= 0, by least squares of the relative errors."""
    (a, b), _ = nnls(np.stack([1 / y, x / y], axis=1), np.ones_like(y))
    return float(a), float(b)


def _in_words(axis: str, value: np.ndarray, fixed: float, slope: float) -> str:
    per = "batch" if axis in COUNTED else "image"
    unit = UNITS[axis]
    words = f"{1e6 * fixed:.3g} us per {per} + {1e6 * slope:.3g} us per {unit}"
    if axis == "width" or fixed == 0 or slope == 0:
        return words
    even = fixed / slope
    if even < value.min():
        return words
    return f"{words} (the first part is the larger up to {axis} = {even:.2g})"


def _leaves(axis: str, value: np.ndarray, ratio: np.ndarray) -> str:
    for x, times in zip(value, ratio, strict=True):
        if max(times, 1 / times) > OFF:
            return f"leaves this line at {axis} = {x:.0f}, with {times:.2f} times it"
    return f"linear throughout, {axis} = {value.min():.0f} to {value.max():.0f}"


def write(out: Path, rows: Rows, findings: Iterable[str]) -> None:
    """Write results.csv, results.json and the figures."""
    write_csv(out / "results.csv", rows, COLUMNS)
    rows = [row for row in rows if row["axis"] != "estimator"]
    for quantity in ("seconds_per_image", "peak_bytes"):
        if any(row[quantity] is not None for row in rows):
            save(cost_curves(rows, quantity), out / "figures" / f"{quantity}.png")
    run_folder.write_json(
        out / "results.json",
        {"findings": list(findings), "versions": run_folder.versions()},
    )
