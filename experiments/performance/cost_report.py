"""The report on measured costs: a line through every curve, and the points off it.

The time of a call with x units of work (samples, examples, weights of the network,
latents, seeds) is a + b x where it is linear, and so is its memory: a is paid once, b
for each unit. Of devices, x is one over their number. The line, with a and b not
negative, has the smallest squared relative errors; a point more than 1.5 times above or
below the line is off the linear regime.
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
    "num_samples": "per sample",
    "batch_size": "per example",
    "width": "per weight",
    "latent_dim": "per latent",
    "num_devices": "over the number of devices",
    "num_seeds": "per seed",
    "num_examples": "per stored example",
}
COUNTED = ("batch_size", "num_seeds")  # axes along which the number of images varies
QUANTITIES = {
    "seconds_per_image": ("time", "us", 1e6),
    "processor_seconds_per_image": ("processor time", "us", 1e6),
    "peak_bytes": ("memory", "MB", 1e-6),
}
COLUMNS = (
    *("work", "axis", "value", "seconds_per_image", "fastest", "slowest"),
    *("line_seconds_per_image", "off_seconds_per_image"),
    *("processor_seconds_per_image", "line_processor_seconds_per_image"),
    *("off_processor_seconds_per_image", "peak_bytes", "line_peak_bytes"),
    "off_peak_bytes",
)

Rows = list[dict[str, Any]]


def num_weights(width: np.ndarray) -> np.ndarray:
    """The weights of 784-width-width-100 and 50-width-width-784, a product's work."""
    return (784 + 100 + 50 + 784) * width + 2 * width**2


def with_lines(rows: Rows) -> tuple[Rows, list[str]]:
    """Add each curve's lines to its rows; report where the curve leaves them.

    A single point has no line, and nor has a memory that is not known.
    """
    findings = []
    for quantity in QUANTITIES:
        found: Rows = []
        for (work, axis), curve in groupby(
            rows, lambda row: (row["work"], row["axis"])
        ):
            members = list(curve)
            line: list[float | None] = [None] * len(members)
            off = [False] * len(members)
            known = all(row[quantity] is not None for row in members)
            if axis != "estimator" and len(members) > 1 and known:
                value = np.array([row["value"] for row in members], float)
                measured = np.array([row[quantity] for row in members])
                expected, words = _line(axis, value, measured, quantity)
                ratio = measured / expected
                line = expected.tolist()
                off = (np.maximum(ratio, 1 / ratio) > OFF).tolist()
                what = f"{QUANTITIES[quantity][0]} of {work} against {axis}"
                findings.append(f"{what}: {words}; {_leaves(axis, value, ratio)}")
            names = f"line_{quantity}", f"off_{quantity}"
            found += [
                row | dict(zip(names, pair, strict=True))
                for row, *pair in zip(members, line, off, strict=True)
            ]
        rows = found
    return rows, findings


def _line(
    axis: str, value: np.ndarray, measured: np.ndarray, quantity: str
) -> tuple[np.ndarray, str]:
    """The line at every value, and in words."""
    timed = quantity != "peak_bytes"
    units = value
    if axis == "width":
        units = num_weights(value)
    elif axis == "num_devices":
        units = 1 / value
    # If the number of images varies, the line fits the time of all images together.
    calls = value if timed and axis in COUNTED else np.ones_like(value)
    fixed, slope = fit_line(units, measured * calls)
    _, unit, scale = QUANTITIES[quantity]
    per = (" per batch" if axis in COUNTED else " per image") if timed else ""
    words = (
        f"{scale * fixed:.3g} {unit}{per} + {scale * slope:.3g} {unit} {UNITS[axis]}"
    )
    if units is value and slope > 0 and fixed / slope >= value.min():
        even = f"{axis} = {fixed / slope:.2g}"
        words += f" (the first part is the larger up to {even})"
    return (fixed + slope * units) / calls, words


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


def _leaves(axis: str, value: np.ndarray, ratio: np.ndarray) -> str:
    for x, times in zip(value, ratio, strict=True):
        if max(times, 1 / times) > OFF:
            return f"leaves this line at {axis} = {x:.0f}, with {times:.2f} times it"
    return f"linear throughout, {axis} = {value.min():.0f} to {value.max():.0f}"


def write(out: Path, rows: Rows, findings: Iterable[str]) -> None:
    """Write results.csv, results.json and the figures."""
    write_csv(out / "results.csv", rows, COLUMNS)
    rows = [row for row in rows if row["axis"] != "estimator"]
    for quantity in QUANTITIES:
        if any(row[quantity] is not None for row in rows):
            save(cost_curves(rows, quantity), out / "figures" / f"{quantity}.png")
    run_folder.write_json(
        out / "results.json",
        {"findings": list(findings), "versions": run_folder.versions()},
    )
