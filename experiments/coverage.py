"""Measure how often the benchmark's 95% intervals hold.

    python -m experiments.coverage --out runs/coverage

The statistics of gradients that `experiments.estimator_variance` reports are drawn
anew with every seed, and their intervals, as in the figures, are compared with the
truth, which is known by formulas and quadrature (`coverage_regimes`). The regimes are
weak biases, heavy tails, few draws, weak signals, means along the one main direction of
the noise, and estimators on toys.

An interval counts as marked if most reports flag it as unsafe, or give none because
noise hides the statistic. The other intervals contain the truth as often as intervals
of 95% should, or the study names them.

Plug-ins do not count. The plain signal-to-noise ratio, `snr`, includes its noise floor
by definition: its interval describes the spread over runs, and misses the truth at low
signals. The quantiles of the coordinates' variances, `variance_q05` to `variance_q95`,
are spread by noise: they have no interval.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Large, Seed, Settings
from vaejax.core.ranges import Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Measure how often the benchmark's intervals contain the truth."""

    seeds: Annotated[int, option("N"), Range(2, 1_000_000)] = 200
    """number of reports per regime"""
    draws: Annotated[Large, option("N")] = 2000
    """gradients per report, except in regimes of few draws"""
    seed: Annotated[Seed, option("N")] = 0
    """seed of the draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/coverage")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """continue after the regimes that are measured in --out"""


if __name__ == "__main__":
    read_command_line(Config)

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.stats import binomtest

from experiments.benchmark.coverage_regimes import regimes
from experiments.benchmark.known_gradients import Maker, Regime
from experiments.harness import run_folder
from experiments.harness.measured_run import measured_run
from experiments.harness.result_row import ResultRow
from experiments.harness.result_table import print_rows
from vaejax import plotting
from vaejax.benchmark import (
    GroupReport,
    Moments,
    fold_count,
    gradient_moments,
    summarize,
)
from vaejax.benchmark.statistics import interval, values_of
from vaejax.core import Key, Objective, Params

WANTED = (0.90, 0.985)
GROUP = "encoder"
REFERENCE_DRAWS = 4  # per draw of the estimator, for a drawn reference
PLUG_IN = "snr"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoverageRow(ResultRow):
    """The share of a statistic's intervals that contain the truth, in a regime."""

    kind: str
    regime: str
    draws: int  # of a report
    statistic: str
    truth: float
    given: float  # share of the reports with an interval
    safe: float  # share of the reports that say so
    marked: bool  # most reports mark the interval, or give none
    covered: float = np.nan  # share of the intervals that contain the truth
    low: float = np.nan  # its 95% interval
    high: float = np.nan
    mean: float = np.nan  # of the statistic
    spread: float = np.nan
    median_width: float = np.nan


class Results(NamedTuple):
    """A row per regime and statistic, as in results.csv."""

    rows: Sequence[CoverageRow]
    summary: dict[str, Any]
    out: Path


def run(config: Config, makers: Mapping[str, Maker] | None = None) -> Results:
    """Report on every regime with every seed; write results.csv, .json and a figure.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    makers = regimes() if makers is None else makers
    fold_count(config.draws)  # raises without equal folds
    with measured_run(config) as run:
        print(
            f"{config.seeds} reports of {config.draws} gradients in {len(makers)} "
            f"regimes -> {config.out}"
        )
        rows = run.rows(
            "intervals",
            "regimes",
            [(name,) for name in makers],
            lambda cell: measure(config, makers[cell[0]](config.draws)),
            CoverageRow,
        )
        summary = summary_of(rows)
        run_folder.write_json(
            config.out / "results.json", summary | {"versions": run_folder.versions()}
        )
        shown = [row for row in rows if row.statistic != PLUG_IN]
        figure = plotting.interval_coverage(shown, WANTED)
        plotting.save(figure, config.out / "coverage.pdf")
        plotting.save(figure, config.out / "coverage.png")
        outside = [row.line() for row in shown if not (row.marked or within(row))]
        if outside:
            always = ("regime", "statistic", "covered")
            print_rows("outside", outside, always, ("given", "truth", "mean", "spread"))
        print(
            f"{summary['within']} of {summary['intervals']} intervals contain the "
            f"truth in {100 * WANTED[0]:g} to {100 * WANTED[1]:g}% of {config.seeds} "
            f"reports, {summary['above']} in more, {summary['below']} in fewer; "
            f"together they contain it in {100 * summary['covered']:.1f}% of the "
            f"reports. {summary['marked']} more are unsafe or missing in most "
            "reports; together they contain it in "
            f"{100 * summary['covered_if_marked']:.1f}%"
        )
        print(f"results: {config.out}")
        return Results(rows, summary, config.out)


def within(row: CoverageRow) -> bool:
    """True if the interval's coverage is within `WANTED`."""
    return WANTED[0] <= row.covered <= WANTED[1]


def summary_of(rows: Sequence[CoverageRow]) -> dict[str, Any]:
    """Counts of intervals within, above and below `WANTED`, without the plug-in's."""
    counted = [row for row in rows if row.statistic != PLUG_IN]
    marked = [row for row in counted if row.marked]
    others = [row for row in counted if not row.marked]
    return {
        "intervals": len(others),
        "within": sum(map(within, others)),
        "above": sum(row.covered > WANTED[1] for row in others),
        "below": sum(row.covered < WANTED[0] for row in others),
        "covered": _mean_share(others),
        "marked": len(marked),
        "covered_if_marked": _mean_share(marked),
    }


def _mean_share(rows: Sequence[CoverageRow]) -> float:
    shares = [row.covered for row in rows if row.given]
    return float(np.mean(shares)) if shares else 0.0


def measure(config: Config, regime: Regime) -> list[CoverageRow]:
    """The rows of a regime: the coverage of every interval."""
    keys = jax.random.split(jax.random.key(config.seed), 2 * config.seeds)
    params = regime.params
    _, state = regime.objective.init(keys[0])
    _, unravel = ravel_pytree(params.encoder)
    nothing = jax.tree.map(jnp.zeros_like, params)
    target = nothing._replace(encoder=unravel(jnp.asarray(regime.target, jnp.float32)))

    def moments(
        objective: Objective, draws: int, key: Key, direction: Params | None
    ) -> Moments:
        at = objective, params, state, key, regime.batch
        folds = fold_count(regime.draws)
        return gradient_moments(
            *at, draws=draws, folds=folds, reference=direction, work=0.0
        )

    def report(own: Key, other: Key) -> GroupReport:
        reference: Params | Moments = target
        if regime.reference is not None:
            many = REFERENCE_DRAWS * regime.draws
            reference = moments(regime.reference, many, other, None)
        drawn = moments(regime.objective, regime.draws, own, target)
        return summarize(drawn, reference)[GROUP]

    found = [report(*pair)._asdict() for pair in keys.reshape(-1, 2)]
    safe = float(np.mean([row["safe"] for row in found]))
    row_of = partial(
        CoverageRow, kind=regime.kind, regime=regime.name, draws=regime.draws, safe=safe
    )
    rows = []
    for name, truth in regime.truths.items():
        ends = np.stack(interval(found, name), axis=1)
        held = held_against(float(truth), values_of(found, name), ends)
        marked = min(held["given"], safe) < 0.5
        rows.append(row_of(statistic=name, truth=float(truth), marked=marked, **held))
    return rows


def held_against(truth: float, values: np.ndarray, ends: np.ndarray) -> dict[str, Any]:
    """The share of the given intervals that contain the truth, with 95% bounds."""
    given = np.isfinite(ends).all(1)
    found = {"given": float(given.mean())}
    if not given.any():
        return found
    values, (lows, highs) = values[np.isfinite(values)], ends[given].T
    hits = int(np.sum((lows <= truth) & (truth <= highs)))
    bounds = binomtest(hits, len(lows)).proportion_ci(method="wilson")
    return found | {
        "covered": hits / len(lows),
        "low": float(bounds.low),
        "high": float(bounds.high),
        "mean": float(values.mean()) if values.size else np.nan,
        "spread": float(values.std()) if values.size else np.nan,
        "median_width": float(np.median(highs - lows)),
    }


if __name__ == "__main__":
    run_main(Config, run)
