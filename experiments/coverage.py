"""How often the benchmark's 95% intervals hold the truth, estimator by estimator.

    python -m experiments.coverage --out runs/coverage

The statistics of gradients that `experiments.estimator_variance` reports are drawn
anew with every seed, and their intervals held against the truth: no bias and a cosine
of 1 where the estimator is unbiased, and else what `TRUTH_RUNS` times as many draws
say, whose own error is a twentieth of the spread. The regimes go from strong
signals to none, from normal to discrete latents; one estimator is biased, and one
reference is drawn.

The plain signal-to-noise ratio, `snr`, shows its noise floor by definition: its
interval is of its spread over runs, and misses the truth at low signals.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binomtest

from experiments import run_folder
from experiments.cli import option, progress_bar, run_main
from experiments.gradient_cells import (
    Keys,
    Set,
    Setting,
    make_keys,
    objective_at,
    work_of,
)
from experiments.gradient_reference import (
    Reference,
    direction_of,
    drawn_reference,
    reference_of,
)
from experiments.journal import Journal
from experiments.measured_model import of_registry
from experiments.result_table import Row, print_rows, write_csv
from experiments.settings import Large, Seed, Settings
from experiments.setup import build_named
from vaejax import plotting
from vaejax.bounds import BOUNDS
from vaejax.core import Batch, Key, Problem
from vaejax.diagnostics import (
    GroupReport,
    Moments,
    combine,
    fold_count,
    gradient_moments,
    summarize,
)
from vaejax.diagnostics.report import NORMAL_95
from vaejax.estimators import ESTIMATORS
from vaejax.objective import check as verdict_on
from vaejax.ranges import Range

WANTED = (0.90, 0.985)
TRUTH_RUNS = 400  # times the draws of one seed
OBSERVATIONS = 4
STATISTICS = (
    *("bias", "variance", "variance_q05", "variance_q50", "variance_q95"),
    *("snr", "rms_snr", "norm_snr", "cosine", "draw_cosine", "directional_snr"),
)
PLUG_IN = "snr"
COLUMNS = (
    *("regime", "group", "statistic", "truth", "told", "covered", "low", "high"),
    *("mean", "spread", "median_width"),
)


class Regime(NamedTuple):
    """A cell of the benchmark, and whether its reference is drawn."""

    model: str
    settings: tuple[str, ...]
    bound: str
    estimator: str
    num_samples: int
    drawn_reference: bool = False

    @property
    def name(self) -> str:
        """As in the figure."""
        words = f"{self.estimator}, {self.bound}, K = {self.num_samples}, {self.model}"
        return words + ", drawn reference" * self.drawn_reference


BITS = "sigmoid_belief_network", ("latent_dim=4", "data_shape=6")
REGIMES = (
    Regime("linear_gaussian", (), "elbo", "pathwise", 1),
    Regime("linear_gaussian", (), "iwae", "pathwise", 64),
    Regime("linear_gaussian", (), "iwae", "dreg", 64),
    Regime("linear_gaussian", (), "iwae", "dreg", 8, drawn_reference=True),
    Regime("linear_gaussian", (), "elbo", "score_function", 1),
    Regime("linear_gaussian", (), "iwae", "stl", 8),
    Regime(*BITS, "elbo", "disarm", 2),
    Regime(*BITS, "iwae", "vimco", 8),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Measure how often the benchmark's intervals hold the truth."""

    seeds: Annotated[int, option("N"), Range(2, 1_000_000)] = 200
    """reports of each regime"""
    draws: Annotated[Large, option("N")] = 2000
    """gradients in a report"""
    seed: Annotated[Seed, option("N")] = 0
    """of parameters, observations and draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/coverage")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """go on from the regimes in --out"""


class Results(NamedTuple):
    """A row per regime, parameter group and statistic, as in results.csv."""

    rows: list[Row]
    summary: dict[str, Any]
    out: Path


def run(config: Config, regimes: Sequence[Regime] = REGIMES) -> Results:
    """Report on every regime with every seed; write results.csv, .json and a figure.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    fold_count(config.draws)  # or say why not
    with run_folder.open_run(
        config.out, config, overwrite=config.overwrite, resume=config.resume
    ):
        print(
            f"{config.seeds} reports of {config.draws} gradients in {len(regimes)} "
            f"regimes -> {config.out}"
        )
        journal, rows = Journal(config.out), []
        with progress_bar("intervals", len(regimes), "regimes") as update:
            for number, regime in enumerate(regimes, start=1):
                cell = (regime.name,)
                if journal.read(cell, "rows") is None:
                    journal.write(cell, rows=measure(config, regime))
                rows += journal.read(cell, "rows")
                update(number)
        write_csv(config.out / "results.csv", rows, COLUMNS)
        summary = summary_of(rows)
        run_folder.write_json(
            config.out / "results.json", summary | {"versions": run_folder.versions()}
        )
        shown = [row for row in rows if row["statistic"] != PLUG_IN]
        figure = plotting.interval_coverage(shown, WANTED)
        plotting.save(figure, config.out / "coverage.pdf")
        plotting.save(figure, config.out / "coverage.png")
        outside = [row for row in shown if not within(row)]
        if outside:
            always = ("regime", "group", "statistic", "covered")
            print_rows("outside", outside, always, ("told", "truth", "mean", "spread"))
        print(
            f"{summary['within']} of {summary['intervals']} intervals hold the truth "
            f"in {100 * WANTED[0]:g} to {100 * WANTED[1]:g}% of {config.seeds} "
            f"reports; over all of them, {100 * summary['covered']:.1f}% do"
        )
        print(f"results: {config.out}")
        return Results(rows, summary, config.out)


def within(row: Row) -> bool:
    """Whether the interval is as good as it says."""
    return row["covered"] is not None and WANTED[0] <= row["covered"] <= WANTED[1]


def summary_of(rows: Sequence[Row]) -> dict[str, Any]:
    """How many of the intervals hold what they say; the plug-in's do not count."""
    counted = [row for row in rows if row["statistic"] != PLUG_IN]
    shares = [row["covered"] for row in counted if row["covered"] is not None]
    return {
        "intervals": len(counted),
        "within": sum(map(within, counted)),
        "covered": float(np.mean(shares)),
    }


def measure(config: Config, regime: Regime) -> list[Row]:
    """The rows of a regime: how often every interval holds the truth."""
    setting, cells, unbiased = _prepare(config, regime)
    keys = setting.keys
    exact = reference_of(setting, cells.problem)

    def report(key: Key, reference: Reference) -> dict[str, GroupReport]:
        moments = _draw(setting, cells, regime.estimator, key, reference)
        return summarize(moments, reference.gradient)

    found = []
    for number in range(config.seeds):
        reference = exact
        if regime.drawn_reference:
            own = keys._replace(reference=jax.random.fold_in(keys.reference, number))
            drawn = drawn_reference(setting._replace(keys=own), cells.problem)
            reference = Reference(*drawn, {})
        found.append(report(jax.random.fold_in(keys.draws, number), reference))
    passes = [
        _draw(
            setting, cells, regime.estimator, jax.random.fold_in(keys.split, i), exact
        )
        for i in range(TRUTH_RUNS)
    ]
    truth = summarize(combine(passes), exact.gradient)
    return [
        {"regime": regime.name, "group": group, "statistic": name}
        | _held_against(
            {"bias": 0.0, "cosine": 1.0}.get(name) if unbiased else None,
            getattr(truth[group], name),
            np.array([getattr(report[group], name) for report in found]),
            np.array([_ends(report[group], name) for report in found]),
        )
        for group in truth
        for name in STATISTICS
    ]


def _prepare(config: Config, regime: Regime) -> tuple[Setting, Set, bool]:
    """Where a regime's gradients are taken, its cell, and whether it is unbiased."""
    keys: Keys = make_keys(config.seed)
    place = of_registry(
        regime.model,
        regime.settings,
        OBSERVATIONS,
        params_key=keys.params,
        examples_key=keys.examples,
    )
    problem = Problem(
        model=place.model,
        bound=build_named(BOUNDS, regime.bound),
        num_samples=regime.num_samples,
    )
    batch = Batch(place.examples, jnp.arange(OBSERVATIONS))
    setting = Setting(place.model, place.params, batch, keys, config.draws)
    verdict = verdict_on(problem, ESTIMATORS[regime.estimator]())
    return setting, Set(problem, 1, {}), verdict.status == "unbiased"


def _draw(
    setting: Setting, cells: Set, estimator: str, key: Key, reference: Reference
) -> Moments:
    objective, params, state = objective_at(setting, cells, estimator)
    return gradient_moments(
        objective,
        params,
        state,
        key,
        setting.batch,
        draws=setting.draws,
        reference=direction_of(reference.gradient, params),
        work=setting.draws * work_of(setting, cells.problem),
    )


def _ends(report: GroupReport, statistic: str) -> tuple[float, float]:
    """Of the statistic's 95% interval."""
    if statistic == "bias":
        return report.bias_low, report.bias_high
    value, half = (getattr(report, statistic + end) for end in ("", "_stderr"))
    return value - NORMAL_95 * half, value + NORMAL_95 * half


def _held_against(
    known: float | None, drawn: float, values: np.ndarray, ends: np.ndarray
) -> dict[str, Any]:
    """How often the intervals that there are hold the truth, with 95% bounds."""
    truth = drawn if known is None else known
    told = np.isfinite(ends).all(1)
    values, (lows, highs) = values[told], ends[told].T
    row: dict[str, Any] = {"truth": truth, "told": float(told.mean())}
    if not (told.any() and np.isfinite(truth)):
        return row | {"covered": None}
    hits = int(np.sum((lows <= truth) & (truth <= highs)))
    share = binomtest(hits, len(values)).proportion_ci(method="wilson")
    return row | {
        "covered": hits / len(values),
        "low": float(share.low),
        "high": float(share.high),
        "mean": float(values.mean()),
        "spread": float(values.std()),
        "median_width": float(np.median(highs - lows)),
    }


if __name__ == "__main__":
    run_main(Config, run)
