"""Measure how time and memory grow with K, batch size, width and number of seeds.

    python -m experiments.cost --out runs/cost

Each curve varies one setting of the IWAE paper's network, with the bound and the first
estimator named, and leaves the others at the base. At the base, the other estimators
and the streamed moments of the first one's gradients are compared with the first. All
points take turns, round by round, and the medians are reported. Finished rounds are
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
class Config(Settings):
    """Measure how time and memory grow with K, batch size, width and seeds."""

    bound: Annotated[str, option("NAME", names="bounds")] = "iwae"
    """name of the bound to differentiate"""
    estimators: Annotated[tuple[str, ...], option("NAME..", names="estimators")] = (
        *("dreg", "pathwise", "stl", "vimco"),
    )
    """names; the curves show the first, and the others are compared with it"""
    num_samples: Annotated[tuple[int, ...], option("K..")] = (
        *(1, 2, 5, 10, 20, 50),
        *(100, 200, 500, 1000),
    )
    """importance samples per example"""
    batch_size: Annotated[tuple[int, ...], option("N..")] = (1, 5, 20, 100, 500, 2000)
    """examples per training step"""
    width: Annotated[tuple[int, ...], option("N..")] = (25, 50, 100, 200, 400, 800)
    """units of the two hidden layers"""
    num_seeds: Annotated[tuple[int, ...], option("N..")] = (1, 2, 4, 8)
    """number of models that one program trains"""
    base: Annotated[tuple[int, int, int], option("K N N")] = (5, 100, 200)
    """fixed K, batch size and width"""
    rounds: Annotated[int, option("N")] = 5
    """rounds that the medians are taken over"""
    seconds: Annotated[Seconds, option("T")] = 0.3
    """shortest time of a measurement in seconds"""
    out: Annotated[Path, option("DIR")] = Path("runs/cost")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """measure only the rounds that are not measured in --out"""


if __name__ == "__main__":
    read_command_line(Config)

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.benchmark.choice import choose_estimators
from experiments.harness.journal import Journal
from experiments.harness.measured_run import measured_run
from experiments.harness.progress import progress_bar
from experiments.performance import cost_report
from vaejax.benchmark import gradient_moments
from vaejax.bounds import BOUNDS
from vaejax.core import Batch, Example, Model, Objective, VaejaxError, build
from vaejax.core.memory import check_fits, check_product
from vaejax.evaluation import log_likelihood
from vaejax.models import gaussian_mlp
from vaejax.objective import make_objective
from vaejax.training import (
    TrainState,
    default_micro_batch_size,
    init_state,
    make_step,
    run_steps,
    several_seeds,
    zero_totals,
)

PIXELS = (28, 28, 1)
DECODINGS_PER_CALL = 5000  # roughly enough steps that the start of a call costs little


class Results(NamedTuple):
    """A row per point, as in results.csv, and the findings in words."""

    rows: list[dict[str, Any]]
    findings: list[str]
    out: Path


class Point(NamedTuple):
    """A place on a curve; `seeds` is None for a program of a single state."""

    work: str  # "training step", "evaluation" or "gradient moments"
    axis: str
    value: int | str
    num_samples: int
    batch_size: int
    width: int
    seeds: int | None = None


class Program(NamedTuple):
    """A timed program: a call, the number of its images, and its memory if known."""

    call: Callable[[], Any]
    images: int
    peak_bytes: int | None


def points_of(config: Config) -> Iterator[Point]:
    """The points of every curve."""
    base = dict(zip(("num_samples", "batch_size", "width"), config.base, strict=True))
    for axis in base:
        for work in ("training step", "evaluation"):
            for value in getattr(config, axis):
                yield Point(work, axis, value, **(base | {axis: value}))
    for value in config.num_seeds:
        yield Point("training step", "num_seeds", value, **base, seeds=value)
    for name in config.estimators:
        yield Point("training step", "estimator", name, **base)
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
            _check_fits(point)
        makers = [_program_of(point, config) for point in points]
        return _measure(run, config, points, makers)


def _measure(
    journal: Journal,
    config: Config,
    points: list[Point],
    makers: list[Callable[[], Program]],
) -> Results:
    print(f"{len(points)} points, {config.rounds} rounds -> {config.out}")
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
                taken.append(_seconds_per_image(program, config.seconds))
                update(done * len(points) + len(taken))
            peaks = [program.peak_bytes for program in programs]
            journal.write((number,), seconds=taken, peak_bytes=peaks)
    seconds = np.array(
        [journal.read((number,), "seconds") for number in range(config.rounds)]
    )
    rows = [
        {
            **{name: getattr(point, name) for name in ("work", "axis", "value")},
            "seconds_per_image": float(np.median(taken)),
            "fastest": float(taken.min()),
            "slowest": float(taken.max()),
            "peak_bytes": peak,
        }
        for point, taken, peak in zip(
            points, seconds.T, journal.read((0,), "peak_bytes"), strict=True
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


def _seconds_per_image(program: Program, at_least: float) -> float:
    images, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < at_least:
        program.call()
        images += program.images
    return taken / images


def _check_fits(point: Point) -> None:
    """Refuse a point whose program the memory cannot hold.

    Raises:
        VaejaxError: it takes too much.
    """
    seeds = point.seeds or 1
    model = gaussian_mlp(hidden=(point.width, point.width))
    # The parameters, their gradient and Adam's two moments.
    make = partial(model.init, jax.random.key(0))
    check_fits(f"networks of width {point.width:,}", make, copies=4 * seeds)
    asked = {"num_samples": point.num_samples, "num_seeds": seeds}
    size = max(point.width, math.prod(PIXELS))
    if point.work == "gradient moments":  # on all examples at once
        check_product(asked | {"batch_size": point.batch_size}, size)
    parts = default_micro_batch_size(point.batch_size, point.num_samples)
    check_product(asked, size * parts)
    check_product({"batch_size": point.batch_size}, math.prod(PIXELS))


def _program_of(point: Point, config: Config) -> Callable[[], Program]:
    """Check a point; return a function that compiles its program."""
    model = gaussian_mlp(hidden=(point.width, point.width))
    if point.work == "evaluation":
        return partial(_evaluation, model, point)
    name = point.value if isinstance(point.value, str) else config.estimators[0]
    (estimator,) = choose_estimators([name])
    objective = make_objective(
        model,
        build(BOUNDS, config.bound),
        estimator,
        num_samples=point.num_samples,
        allow_bias=True,
    )
    if point.work == "gradient moments":
        return partial(_moments, objective, point)
    return partial(_training, objective, point)


def _examples(count: int) -> Example:
    """Images that are half black: neither time nor memory depends on them."""
    x = np.random.default_rng(0).integers(0, 2, (count, *PIXELS))
    return Example(jnp.asarray(x, float))


def _training(objective: Objective, point: Point) -> Program:
    """A program of training steps in one dispatch, of one state or of several."""
    if point.seeds is not None:
        objective = several_seeds(objective, point.seeds)
    optimizer = optax.adam(1e-3)
    step = make_step(
        objective,
        optimizer,
        micro_batch_size=default_micro_batch_size(point.batch_size, point.num_samples),
    )
    seeds = point.seeds or 1
    rows = point.batch_size * point.num_samples * seeds
    num_steps = max(1, DECODINGS_PER_CALL // rows)
    data = _examples(point.batch_size)
    shape = (num_steps, point.batch_size)
    indices = jnp.broadcast_to(jnp.arange(point.batch_size), shape)
    state = init_state(objective, optimizer, jax.random.key(0))

    def update(state: TrainState, data: Example, indices: Array) -> Any:
        totals = zero_totals(step, state, data, indices)
        return run_steps(step, state, totals, data, indices, 0, num_steps)

    compiled = jax.jit(update, donate_argnums=0).lower(state, data, indices).compile()

    def call() -> None:
        nonlocal state
        state, totals = compiled(state, data, indices)
        jax.block_until_ready(totals)

    memory = compiled.memory_analysis()
    assert memory is not None  # None only on exotic backends
    peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return Program(call, num_steps * point.batch_size * seeds, peak)


def _moments(objective: Objective, point: Point) -> Program:
    """A program of streamed moments, of enough gradients to outweigh a call's start."""
    params, state = objective.init(jax.random.key(0))
    batch = Batch(_examples(point.batch_size), jnp.arange(point.batch_size))
    draws = 8 * max(1, DECODINGS_PER_CALL // (8 * point.batch_size * point.num_samples))

    def call() -> None:
        at = objective, params, state, jax.random.key(1), batch
        jax.block_until_ready(gradient_moments(*at, draws=draws, folds=8))

    return Program(call, draws * point.batch_size, None)


def _evaluation(model: Model, point: Point) -> Program:
    """A program of a batch's log-likelihood, by the function that users call."""
    params = model.init(jax.random.key(0))
    examples = _examples(point.batch_size)

    def call() -> None:
        log_likelihood(
            model,
            params,
            examples,
            jax.random.key(1),
            num_samples=point.num_samples,
        )

    return Program(call, point.batch_size, None)


if __name__ == "__main__":
    run_main(Config, run)
