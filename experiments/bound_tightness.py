"""Measure the tightness of bounds on log p(x) against K.

    python -m experiments.bound_tightness --out runs/tightness
    python -m experiments.bound_tightness --checkpoint runs/iwae5 --out runs/tight_iwae5

On an oracle, log p(x) is exact and theory predicts how the gap closes; on a trained
model, log p(x) is estimated with many more samples. Every bound has its errors, over
draws and over examples, and diagnostics of its weights: effective sample size and
Pareto k. A bound that refuses a K or the model has a row with the reason. Finished
rows are kept: `--resume` goes on from there.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Large, Seed, Settings
from vaejax.core.ranges import Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """Model."""

    model: Annotated[str, option("NAME", names="models")] = "linear_gaussian"
    """model to measure at its initial parameters, on its own samples"""
    model_settings: Annotated[tuple[str, ...], option("S=V")] = (
        *("data_shape=2", "latent_dim=1"),
    )
    """settings of the model (default: data_shape=2 latent_dim=1, or none with
    another --model)"""
    checkpoint: Annotated[Path | None, option("DIR")] = None
    """run of experiments.train to measure, not --model"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSettings(Settings):
    """Cells."""

    bounds: Annotated[tuple[str, ...], option("NAME..", names="bounds")] = ()
    """names of the bounds (default: all)"""
    num_samples: Annotated[tuple[int, ...], option("K..")] = (
        *(1, 2, 5, 10, 20, 50),
        *(100, 200, 500, 1000),
    )
    """importance samples per example"""
    draws: Annotated[int, option("N"), Range(10, 10_000_000)] = 500
    """draws of every bound for each example"""
    num_examples: Annotated[int, option("N")] = 16
    """number of observations in the mean of a bound"""
    eval_num_samples: Annotated[Large, option("S")] = 50_000
    """importance samples of log p(x), where it is not exact"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CellSettings, ModelSettings):
    """Compare every bound with log p(x), at every K."""

    seed: Annotated[Seed, option("N")] = 0
    """seed of parameters, data and draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/tightness")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """continue the run in --out"""


if __name__ == "__main__":
    read_command_line(Config)

from typing import Any, NamedTuple

import jax

from experiments.benchmark import measured_model, tightness_report
from experiments.benchmark.choice import choose_bounds
from experiments.benchmark.measured_model import Measured, RunKeys, make_keys
from experiments.benchmark.tightness_cells import (
    TightnessRow,
    check_sizes,
    measure,
    reference_of,
)
from experiments.harness.cli import command_of
from experiments.harness.measured_run import MeasuredRun, measured_run
from experiments.harness.names import check_named_once
from vaejax.benchmark.numbers import number_of
from vaejax.core import Bound, VaejaxError


class Results(NamedTuple):
    """A row per bound and K, as in results.csv, and the findings in words."""

    rows: list[TightnessRow]
    findings: list[str]
    out: Path


def check(config: Config) -> list[Bound]:
    """Build the bounds, before anything is computed.

    Raises:
        VaejaxError: an unknown name, or a number that cannot be.
    """
    bounds = choose_bounds(config.bounds or ("all",))
    if not config.num_samples:
        raise VaejaxError(
            "--num-samples is empty: name at least one K, as in --num-samples 1 10 100"
        )
    check_named_once(config, "num_samples")
    return bounds


def run(config: Config) -> Results:
    """Measure every bound at every K; write tables, figures and report.html.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    bounds = check(config)
    keys = make_keys(config.seed)
    measured = _measured(config, keys)
    check_sizes(measured, bounds, max(config.num_samples), config.draws)
    with measured_run(config) as run:
        return _measure(run, config, bounds, measured, keys)


def _measured(config: Config, keys: RunKeys) -> Measured:
    if config.checkpoint is None:
        return measured_model.of_registry(
            config.model,
            _model_settings(config),
            config.num_examples,
            params_key=keys.params,
            examples_key=keys.examples,
        )
    if config.model_settings != Config.model_settings:
        raise VaejaxError(
            "--model-settings follow from the run in --checkpoint: leave them out"
        )
    return measured_model.of_checkpoint(
        config.checkpoint, config.num_examples, "num_examples"
    )


def _model_settings(config: Config) -> tuple[str, ...]:
    """The model settings given; the defaults are for the default model alone."""
    others = config.model != Config.model or config.checkpoint is not None
    by_default = config.model_settings == Config.model_settings
    return () if others and by_default else config.model_settings


def _measure(
    run: MeasuredRun,
    config: Config,
    bounds: list[Bound],
    measured: Measured,
    keys: RunKeys,
) -> Results:
    waiting = [k for k in config.num_samples if run.read((k,), "rows") is None]
    print(
        f"{number_of(len(bounds), 'bound')} x K in {waiting} on {measured.name}, "
        f"{config.draws} draws for each of {config.num_examples} observations -> "
        f"{config.out}"
    )
    reference = reference_of(
        measured, keys.comparison.reference, config.eval_num_samples
    )

    def rows_at(cell: tuple[int]) -> list[TightnessRow]:
        (k,) = cell
        key = jax.random.fold_in(keys.comparison.draws, k)
        return measure(measured, reference, bounds, k, config.draws, key)

    cells = {(k,): k for k in config.num_samples}
    settings = _settings(config, measured)
    rows = run.rows("bounds", "samples", cells, rows_at, TightnessRow, settings)
    findings = tightness_report.write(
        config.out,
        measured.name,
        rows,
        reference,
        command_of("bound_tightness", config),
    )
    return Results(rows, findings, config.out)


def _settings(config: Config, measured: Measured) -> dict[str, Any]:
    """The settings as columns of results.csv."""
    return {
        "model": measured.model.name,
        "model_settings": " ".join(_model_settings(config)),
        "checkpoint": None if config.checkpoint is None else str(config.checkpoint),
        **{name: getattr(config, name) for name in ("seed", "num_examples", "draws")},
    }


if __name__ == "__main__":
    run_main(Config, run)
