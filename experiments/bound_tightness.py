"""How tight every bound on log p(x) is, against the number of importance samples K.

    python -m experiments.bound_tightness --out runs/tightness
    python -m experiments.bound_tightness --checkpoint runs/iwae5 --out runs/tight_iwae5

On an oracle log p(x) is exact, and theory says how the gap closes; on a trained model
it is estimated with many more samples. Beside every bound stand its errors, over draws
and over examples, and what the weights are worth: effective sample size and Pareto k.
A bound that refuses a K or the model is a row that says so. What is finished is kept:
`--resume` goes on from there.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

import jax

from experiments.benchmark import measured_model, tightness_report
from experiments.benchmark.gradient_cells import Keys, make_keys
from experiments.benchmark.measured_model import Measured
from experiments.benchmark.tightness_cells import (
    COLUMNS,
    Row,
    check_sizes,
    measure,
    reference_of,
)
from experiments.harness import run_folder
from experiments.harness.cli import option, progress_bar, run_main
from experiments.harness.journal import Journal
from experiments.harness.names import check_named_once
from experiments.harness.result_table import write_csv
from experiments.harness.settings import Large, Seed, Settings
from vaejax.bounds import BOUNDS
from vaejax.core import Bound, VaejaxError, build
from vaejax.core.ranges import Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Compare every bound with log p(x), at every K."""

    model: Annotated[str, option("NAME")] = "linear_gaussian"
    """at its initial parameters, on its own samples"""
    model_settings: Annotated[tuple[str, ...], option("S=V")] = (
        *("data_shape=2", "latent_dim=1"),
    )
    """of the model; another model has none unless given"""
    checkpoint: Annotated[Path | None, option("DIR")] = None
    """instead: a run of experiments.train, on its test images"""
    bounds: Annotated[tuple[str, ...], option("NAME..")] = ()
    """all unless named"""
    num_samples: Annotated[tuple[int, ...], option("K..")] = (
        *(1, 2, 5, 10, 20, 50),
        *(100, 200, 500, 1000),
    )
    """importance samples per example"""
    draws: Annotated[int, option("N"), Range(10, 10_000_000)] = 500
    """of every bound, for each example"""
    num_examples: Annotated[int, option("N")] = 16
    """observations that a bound is the mean over"""
    eval_num_samples: Annotated[Large, option("S")] = 50_000
    """for log p(x), where it is not exact"""
    seed: Annotated[Seed, option("N")] = 0
    """of parameters, observations and draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/tightness")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """go on with the run in --out"""


class Results(NamedTuple):
    """A row per bound and K, as in results.csv, and what they say in words."""

    rows: list[Row]
    findings: list[str]
    out: Path


def check(config: Config) -> list[Bound]:
    """The bounds asked for, before anything is computed.

    Raises:
        VaejaxError: an unknown name, or a number that cannot be.
    """
    bounds = [build(BOUNDS, name) for name in config.bounds or BOUNDS]
    if not config.num_samples:
        raise VaejaxError("name at least one K, as in --num-samples 1 10 100")
    check_named_once(config, "bounds", "num_samples")
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
    with run_folder.open_run(
        config.out, config, overwrite=config.overwrite, resume=config.resume
    ):
        return _measure(config, bounds, measured, keys)


def _measured(config: Config, keys: Keys) -> Measured:
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
    """Those given; the defaults are the default model's alone."""
    others = config.model != Config.model or config.checkpoint is not None
    by_default = config.model_settings == Config.model_settings
    return () if others and by_default else config.model_settings


def _measure(
    config: Config, bounds: list[Bound], measured: Measured, keys: Keys
) -> Results:
    journal, rows = Journal(config.out), []
    waiting = [k for k in config.num_samples if journal.read((k,), "rows") is None]
    print(
        f"{len(bounds)} bounds x K in {waiting} on {measured.name}, {config.draws} "
        f"draws for each of {config.num_examples} observations -> {config.out}"
    )
    reference = reference_of(measured, keys.reference, config.eval_num_samples)
    settings = _settings(config, measured)
    with progress_bar("bounds", sum(config.num_samples), "samples") as update:
        for at, k in enumerate(config.num_samples, start=1):
            if k in waiting:
                key = jax.random.fold_in(keys.draws, k)
                found = measure(measured, reference, bounds, k, config.draws, key)
                journal.write((k,), rows=[row | settings for row in found])
            rows += journal.read((k,), "rows")
            write_csv(config.out / "results.csv", rows, COLUMNS)
            update(sum(config.num_samples[:at]), f"K = {k}")
    findings = tightness_report.write(
        config.out, measured.name, rows, reference, _flags(config)
    )
    return Results(rows, findings, config.out)


def _settings(config: Config, measured: Measured) -> Row:
    """Every setting as a column."""
    return {
        "model": measured.model.name,
        "model_settings": " ".join(_model_settings(config)),
        "checkpoint": None if config.checkpoint is None else str(config.checkpoint),
        **{name: getattr(config, name) for name in ("seed", "num_examples", "draws")},
    }


def _flags(config: Config) -> list[str]:
    """What repeats the run: the settings that are not by default."""
    words = ["--overwrite"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default and field.name not in ("overwrite", "resume"):
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{field.name.replace('_', '-')}", *map(str, values)]
    return words


if __name__ == "__main__":
    run_main(Config, run)
