"""Measure how the signal-to-noise of gradients scales with K.

    python -m experiments.snr_vs_k --out runs/snr

K importance samples tighten the bound, M estimates are averaged (Rainforth et al. 2018,
arXiv:1802.04537; Tucker et al. 2019, arXiv:1810.04152; Lievin et al. 2020,
arXiv:2008.01998). Gradients are taken on the paper's toy, near its optimum, or on a
trained model. K is varied at the first M, M at the first K. OVIS is the form without
auxiliary samples, at gamma = 0, where OVIS is unbiased: `ovis_mc` follows the same law
in O(K^2) operations.

The paper's 10,000 draws are `--draws 10000`; with all 1024 observations, as
`--batch-size 1024`, they need an accelerator.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Large, Seed, Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveSettings(Settings):
    """Objective."""

    bound: Annotated[str, option("NAME", names="bounds")] = "iwae"
    """bound to differentiate"""
    estimators: Annotated[tuple[str, ...], option("NAME..", names="estimators")] = (
        *("pathwise", "dreg", "ovis_asymptotic"),
    )
    """names, with settings if any, as in nvil:decay=0.9"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointSettings(Settings):
    """Points."""

    num_samples: Annotated[tuple[int, ...], option("K..")] = (
        *(1, 3, 10, 30, 100),
        *(200, 500, 1000),
    )
    """importance samples per estimate"""
    num_outer: Annotated[tuple[int, ...], option("M..")] = (1, 10, 100, 1000)
    """estimates that a gradient averages"""
    draws: Annotated[Large, option("N")] = 2000
    """gradients per point"""
    batch_size: Annotated[int, option("N")] = 8
    """observations that a gradient averages"""
    fit_from: Annotated[int, option("K")] = 100
    """smallest K of the fits, as the laws hold for large K"""
    checkpoint: Annotated[Path | None, option("DIR")] = None
    """run of experiments.train to measure, not the toy"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(PointSettings, ObjectiveSettings):
    """Measure how the gradient's signal-to-noise ratio scales with K and M."""

    seed: Annotated[Seed, option("N")] = 0
    """seed of parameters, data and draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/snr")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """continue after the points that are measured in --out"""


if __name__ == "__main__":
    read_command_line(Config)

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.benchmark import snr_report
from experiments.benchmark.choice import choose, choose_estimators
from experiments.benchmark.measured_model import Measured, make_keys, of_checkpoint
from experiments.benchmark.snr_points import (
    COUNT,
    DIM,
    FOLDS,
    Gap,
    SnrRow,
    gap_at_optimum,
    measure_point,
    toy,
)
from experiments.benchmark.snr_report import FittedSlope
from experiments.harness.measured_run import measured_run
from vaejax.benchmark.cells import Point
from vaejax.benchmark.numbers import number_of
from vaejax.bounds import BOUNDS
from vaejax.compatibility import check as verdict_on
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    IncompatibleError,
    Problem,
    VaejaxError,
)
from vaejax.core.memory import check_product, sample_size


class Results(NamedTuple):
    """A row per point, estimator and group, as in results.csv, and their slopes."""

    rows: list[SnrRow]
    slopes: list[FittedSlope]
    findings: list[str]
    gap: Gap | None
    out: Path


def points_of(config: Config) -> Iterator[tuple[int, int]]:
    """Every (M, K) once: K at the first M, M at the first K."""
    by_k = [(config.num_outer[0], k) for k in config.num_samples]
    by_m = [(m, config.num_samples[0]) for m in config.num_outer]
    return iter(dict.fromkeys(by_k + by_m))


def check(config: Config) -> tuple[Bound, list[Estimator]]:
    """Build the bound and the estimators, before anything is computed.

    Raises:
        VaejaxError: an unknown name, or a number that cannot be.
    """
    bound = choose(BOUNDS, config.bound)
    estimators = choose_estimators(config.estimators)
    if not (estimators and config.num_samples and config.num_outer):
        raise VaejaxError(
            "a list of points is empty: name at least one estimator, one K and one M"
        )
    if config.draws % FOLDS or config.draws < 2 * FOLDS:
        raise VaejaxError(
            f"{config.draws} draws cannot be split into {FOLDS} equal folds: use a "
            f"multiple of {FOLDS} that is at least {2 * FOLDS}"
        )
    return bound, estimators


def run(config: Config) -> Results:
    """Measure every point; write results.csv, results.json and figures.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    bound, estimators = check(config)
    name, model, params, examples, *_ = _problem(config)
    few = jax.tree.map(lambda leaf: leaf[: config.batch_size], examples)
    batch = Batch(few, jnp.arange(config.batch_size))
    place = Point(model, params, batch, make_keys(config.seed).comparison, config.draws)
    size = sample_size(model, params, None if few.y is None else few.y[0])
    for num_outer, k in points_of(config):
        check_product(
            {
                "num_samples": k,
                "num_outer": num_outer,
                "batch_size": config.batch_size,
            },
            size,
        )
    check_product({"draws": config.draws}, 4 * len(jax.tree.leaves(params)))
    for estimator in estimators:
        verdicts = [
            verdict_on(Problem(model=model, bound=bound, num_samples=k), estimator)
            for k in config.num_samples
        ]
        if all(verdict.status == "refused" for verdict in verdicts):
            raise IncompatibleError(
                f"{estimator.name} refuses {bound.name} on {model.name} at every K: "
                f"{verdicts[-1].reason}"
            )
    with measured_run(config) as run:
        points = list(points_of(config))
        print(
            f"{number_of(len(estimators), 'estimator')} of {bound.name} at "
            f"{number_of(len(points), 'point')} (M, K) on {name}, "
            f"{config.draws} draws each -> {config.out}"
        )
        rows = run.rows(
            "gradients",
            "points",
            points,
            lambda point: measure_point(place, bound, estimators, *point),
            SnrRow,
        )
        gap = None
        if config.checkpoint is None:
            gap = gap_at_optimum(model, examples, place.keys.reference)
        slopes = snr_report.fit(
            rows, bound.name, fit_from=config.fit_from, cross=points[0]
        )
        findings = snr_report.in_words(rows, slopes, gap)
        snr_report.write(config.out, rows, slopes, findings, config, gap)
        said = [*map(str, findings), *snr_report.cautions(rows)]
        return Results(rows, slopes, said, gap, config.out)


def _problem(config: Config) -> Measured:
    """The named model, parameters and observations of the gradients."""
    if config.checkpoint is not None:
        return of_checkpoint(config.checkpoint, config.batch_size, "batch_size")
    if config.batch_size > COUNT:
        raise VaejaxError(
            f"batch_size is {config.batch_size}, but the toy has {COUNT} "
            "observations: use at most that many"
        )
    name = f"the toy in {DIM} dimensions"
    return Measured(name, *toy(make_keys(config.seed).params))


if __name__ == "__main__":
    run_main(Config, run)
