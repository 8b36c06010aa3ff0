"""Find the estimator, K, M and batch with most signal a second.

    python -m experiments.advise --model linear_gaussian --bound iwae \
        --estimators dreg pathwise score_function --num-samples 64 \
        --batch-size 4 16 --max-seconds 0.01 --out runs/advise

The measurement and the choice are those of `vaejax.benchmark.advise`. A larger K is a
different, tighter bound with its own gradient; tightness does not count here. Without a
candidate that is the best with at least 95% probability there is no winner, and the
leading candidate is named.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Large, Seconds, Seed, Settings
from vaejax.core.ranges import Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """Model."""

    model: Annotated[str, option("NAME", names="models")] = "linear_gaussian"
    """model to measure at its initial parameters, on its own samples"""
    model_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """settings of the model, as in latent_dim=1"""
    checkpoint: Annotated[Path | None, option("DIR")] = None
    """run of experiments.train to measure, not --model"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CandidateSettings(Settings):
    """Candidates."""

    bound: Annotated[str, option("NAME", names="bounds")] = "iwae"
    """bound to differentiate"""
    estimators: Annotated[tuple[str, ...], option("NAME..", names="estimators")] = (
        *("dreg", "pathwise", "score_function"),
    )
    """names, with settings if any, as in nvil:decay=0.9"""
    num_samples: Annotated[tuple[int, ...], option("K..")] = (8,)
    """importance samples per example"""
    num_outer: Annotated[tuple[int, ...], option("M..")] = (1,)
    """estimates that a gradient averages"""
    batch_size: Annotated[tuple[int, ...], option("N..")] = (4, 16)
    """observations that a gradient averages"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChoiceSettings(Settings):
    """Choice."""

    max_seconds: Annotated[Seconds | None, option("T")] = None
    """largest time of a gradient in seconds (default: no limit)"""
    max_bytes: Annotated[Annotated[int, Range(1, 2**60)] | None, option("N")] = None
    """largest memory of its program in bytes (default: no limit)"""
    group: Annotated[str, option("NAME")] = "all"
    """group of parameters: all, encoder, decoder or prior"""
    allow_bias: bool = False
    """recommend biased estimators, too"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawSettings(Settings):
    """Measurement."""

    pool: Annotated[int, option("N")] = 100
    """observations to draw minibatches from"""
    draws: Annotated[Large, option("N")] = 400
    """gradients per candidate in one pass"""
    passes: Annotated[int, option("N")] = 4
    """largest number of passes for candidates that may be the best"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(DrawSettings, ChoiceSettings, CandidateSettings, ModelSettings):
    """Advise on the estimator, K, M and batch size, by signal per second."""

    seed: Annotated[Seed, option("N")] = 0
    """seed of parameters, data and draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/advise")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """measure only what is not measured in --out"""


if __name__ == "__main__":
    read_command_line(Config)

from typing import NamedTuple

import jax.numpy as jnp

from experiments.benchmark import advice_report, measured_model
from experiments.benchmark.choice import choose, choose_estimators
from experiments.harness.cli import command_of
from experiments.harness.measured_run import measured_run
from experiments.harness.names import check_named_once
from experiments.harness.progress import progress_bar
from vaejax.benchmark import AdviceRow, fold_count
from vaejax.benchmark.advice import CHOICE
from vaejax.benchmark.candidates import Candidate, make_candidates
from vaejax.benchmark.cells import Point
from vaejax.benchmark.numbers import number_of
from vaejax.benchmark.recommend import check_group, check_recommendable, decide
from vaejax.bounds import BOUNDS
from vaejax.core import Batch, Bound, Estimator, VaejaxError


class Results(NamedTuple):
    """A row per candidate, as in results.csv, the recommended row if any, advice."""

    rows: tuple[AdviceRow, ...]
    recommended: AdviceRow | None
    advice: str
    out: Path


def check(config: Config) -> tuple[Bound, list[Estimator]]:
    """Build the bound and the estimators, before anything is computed.

    Raises:
        VaejaxError: an unknown name, or a number that cannot be.
    """
    bound = choose(BOUNDS, config.bound)
    estimators = choose_estimators(config.estimators)
    choices = (config.num_samples, config.num_outer, config.batch_size)
    if not (estimators and all(choices)):
        raise VaejaxError(
            "a list of candidates is empty: name at least one estimator, one K, one M "
            "and one batch size"
        )
    check_named_once(config, *CHOICE[1:])
    check_group(config.group)
    if config.checkpoint is not None and config.model_settings:
        raise VaejaxError(
            "--model-settings follow from the run in --checkpoint: leave them out"
        )
    fold_count(config.draws)
    return bound, estimators


def run(config: Config) -> Results:
    """Measure the candidates and recommend one; write results.csv and results.json.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed; or no
            candidate is valid, unbiased and within the budget.
    """
    candidates = candidates_of(config)
    check_recommendable(candidates, config.allow_bias, "--allow-bias")
    with measured_run(config) as run:
        valid = sum(c.verdict.status != "refused" for c in candidates)
        extent = number_of(len(candidates), "candidate")
        print(f"{extent}, {valid} valid -> {config.out}")
        advice = decide(
            candidates,
            run,
            progress_bar,
            passes=config.passes,
            seed=config.seed,
            max_seconds=config.max_seconds,
            max_bytes=config.max_bytes,
            allow_bias=config.allow_bias,
            group=config.group,
        )
        command = command_of("advise", config)
        advice_report.write(config.out, advice, config.group, command)
    return Results(advice.rows, advice.recommended, advice.sentence(), config.out)


def candidates_of(config: Config) -> list[Candidate]:
    """Make a candidate of every combination that the settings name."""
    bound, estimators = check(config)
    keys = measured_model.make_keys(config.seed)
    if config.checkpoint is not None:
        place = measured_model.of_checkpoint(config.checkpoint, config.pool, "pool")
    else:
        place = measured_model.of_registry(
            config.model,
            config.model_settings,
            config.pool,
            params_key=keys.params,
            examples_key=keys.examples,
        )
    pool = Point(
        model=place.model,
        params=place.params,
        batch=Batch(place.examples, jnp.arange(config.pool)),
        keys=keys.comparison,
        draws=config.draws,
        trained_with=place.estimator,
        trained_state=place.state,
    )
    choices = (config.num_samples, config.num_outer, config.batch_size)
    return make_candidates(pool, bound, estimators, *choices)


if __name__ == "__main__":
    run_main(Config, run)
