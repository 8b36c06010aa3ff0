"""Measure how time and memory grow with all that grows.

    python -m experiments.cost --out runs/cost

Each curve varies one setting of the IWAE paper's network, with the bound and the first
estimator named, and leaves the others at the base. At the base, the other estimators
and the streamed moments of the first one's gradients are compared with the first. All
points take turns, round by round, and the medians are reported, of the time and of the
processors' time, which other work on the machine hardly changes. Finished rounds are
kept, and `--resume` goes on with the others. A point is off the linear regime if it
lies more than 1.5 times above or below a line a + b x through the curve (see
`experiments.performance.cost_report`).
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Seconds, Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveSettings(Settings):
    """Objective."""

    bound: Annotated[str, option("NAME", names="bounds")] = "iwae"
    """bound to differentiate"""
    estimators: Annotated[tuple[str, ...], option("NAME..", names="estimators")] = (
        *("dreg", "pathwise", "stl", "vimco"),
    )
    """names; the curves show the first, and the others are compared with it"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizeSettings(Settings):
    """Sizes."""

    num_samples: Annotated[tuple[int, ...], option("K..")] = (
        *(1, 2, 5, 10, 20, 50),
        *(100, 200, 500, 1000),
    )
    """importance samples per example"""
    batch_size: Annotated[tuple[int, ...], option("N..")] = (1, 5, 20, 100, 500, 2000)
    """examples per training step"""
    width: Annotated[tuple[int, ...], option("N..")] = (25, 50, 100, 200, 400, 800)
    """units of the two hidden layers"""
    latent_dim: Annotated[tuple[int, ...], option("N..")] = (2, 10, 50, 200, 1000)
    """latents, at other curves 50"""
    num_seeds: Annotated[tuple[int, ...], option("N..")] = (1, 2, 4, 8)
    """models that one program trains"""
    num_devices: Annotated[tuple[int, ...], option("N..")] = ()
    """devices that share a batch; a CPU has more than one by XLA_FLAGS alone"""
    num_examples: Annotated[tuple[int, ...], option("N..")] = (
        100,
        1000,
        10_000,
        60_000,
    )
    """training examples on the device"""
    base: Annotated[tuple[int, int, int], option("K N N")] = (5, 100, 200)
    """fixed K, batch size and width"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeSettings(Settings):
    """Measurement."""

    rounds: Annotated[int, option("N")] = 5
    """rounds to take medians over"""
    seconds: Annotated[Seconds, option("T")] = 0.3
    """shortest measurement in seconds"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TimeSettings, SizeSettings, ObjectiveSettings):
    """Measure how time and memory grow with K, batch, width, latents, seeds, data."""

    out: Annotated[Path, option("DIR")] = Path("runs/cost")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """measure only what is not measured in --out"""


if __name__ == "__main__":
    read_command_line(Config)

import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from experiments.harness.journal import Journal
from experiments.harness.measured_run import measured_run
from experiments.harness.progress import progress_bar
from experiments.performance import cost_report
from experiments.performance.cost_programs import (
    Point,
    Program,
    check_point,
    program_of,
)
from vaejax.benchmark.numbers import number_of
from vaejax.core import VaejaxError


class Results(NamedTuple):
    """A row per point, as in results.csv, and the findings in words."""

    rows: list[dict[str, Any]]
    findings: list[str]
    out: Path


def points_of(config: Config) -> Iterator[Point]:
    """The points of every curve."""
    base = dict(zip(("num_samples", "batch_size", "width"), config.base, strict=True))
    step = "training step"
    curves = [
        *product((*base, "latent_dim", "num_devices"), (step, "evaluation")),
        *product(("num_seeds", "num_examples"), (step,)),
    ]
    for axis, work in curves:
        for value in getattr(config, axis):
            yield Point(work, axis, value, **(base | {axis: value}))
    for name in config.estimators:
        yield Point(step, "estimator", name, **base)
    yield Point("gradient moments", "estimator", config.estimators[0], **base)


def run(config: Config) -> Results:
    """Measure every point; write results.csv, results.json and figures.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    if not config.estimators:
        raise VaejaxError(
            "--estimators is empty: name at least one estimator, as in --estimators "
            "dreg"
        )
    points = list(points_of(config))
    with measured_run(config) as run:
        for point in points:
            check_point(point)
        makers = [
            program_of(point, config.bound, config.estimators[0]) for point in points
        ]
        return _measure(run, config, points, makers)


def _measure(
    journal: Journal,
    config: Config,
    points: list[Point],
    makers: list[Callable[[], Program]],
) -> Results:
    extent = number_of(len(points), "point"), number_of(config.rounds, "round")
    print(f"{', '.join(extent)} -> {config.out}")
    waiting = [
        number
        for number in range(config.rounds)
        if journal.read((number,), "seconds") is None
    ]
    programs = _compiled(makers) if waiting else []
    with progress_bar("measuring", len(waiting) * len(points), "points") as update:
        for done, number in enumerate(waiting):
            taken = []
            for program in programs:
                taken.append(_times_per_image(program, config.seconds))
                update(done * len(points) + len(taken))
            peaks = [program.peak_bytes for program in programs]
            journal.write((number,), seconds=taken, peak_bytes=peaks)
    times = np.array(
        [journal.read((number,), "seconds") for number in range(config.rounds)]
    )
    seconds, processor = times[..., 0], times[..., 1]
    rows = [
        {
            **{name: getattr(point, name) for name in ("work", "axis", "value")},
            "seconds_per_image": float(np.median(taken)),
            "fastest": float(taken.min()),
            "slowest": float(taken.max()),
            "processor_seconds_per_image": float(np.median(used)),
            "peak_bytes": peak,
        }
        for point, taken, used, peak in zip(
            points,
            seconds.T,
            processor.T,
            journal.read((0,), "peak_bytes"),
            strict=True,
        )
    ]
    rows, findings = cost_report.with_lines(rows)
    compared = [at for at, point in enumerate(points) if point.axis == "estimator"]
    *steps, last = compared
    findings += cost_report.ratios(config.estimators, seconds[:, steps])
    step, moments = seconds[:, [steps[0], last]].T
    findings.append(
        f"gradients of {config.estimators[0]} are drawn and summed up at "
        f"{np.median(step / moments):.2f} times the speed of its training steps "
        f"({(step / moments).min():.2f} to {(step / moments).max():.2f})"
    )
    cost_report.write(config.out, rows, findings)
    for finding in findings:
        print(finding)
    print(f"results and figures: {config.out}")
    return Results(rows, findings, config.out)


def _compiled(makers: list[Callable[[], Program]]) -> list[Program]:
    """Compile the programs and call each one once."""
    programs = []
    with progress_bar("compiling", len(makers), "programs") as update:
        for done, make in enumerate(makers, start=1):
            programs.append(make())
            programs[-1].call()
            update(done)
    return programs


def _times_per_image(program: Program, at_least: float) -> tuple[float, float]:
    """The time and the processors' time, in seconds."""
    images, start, used = 0, time.perf_counter(), time.process_time()
    while not images or time.perf_counter() - start < at_least:
        program.call()
        images += program.images
    taken = time.perf_counter() - start
    return taken / images, (time.process_time() - used) / images


if __name__ == "__main__":
    run_main(Config, run)
