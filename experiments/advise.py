"""Find the estimator, K, M and batch with most signal a second.

    python -m experiments.advise --model linear_gaussian --bound iwae \
        --estimators dreg pathwise score_function --num-samples 64 \
        --batch-size 4 16 --max-seconds 0.01 --out runs/advise

Every candidate's gradient is timed. Gradients of candidates within the budget are drawn
on minibatches from one pool, with the same keys, and compared with the gradient of the
whole pool (see `vaejax.benchmark.ranking`, also for the certainty). After the first
pass, only candidates that may still be the best are drawn. A larger K is a different,
tighter bound with its own gradient; tightness does not count here. The time is that of
a gradient, without the optimizer. The recommended candidate is the best with at least
95% probability; otherwise there is no winner, and the leading candidate is named.
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

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.benchmark import advice_report, measured_model
from experiments.benchmark.advice_report import SIGNAL, AdviceRow
from experiments.benchmark.candidates import CHOICE, Candidate, costs_of, draw
from experiments.benchmark.choice import choose, choose_estimators
from experiments.harness.cli import command_of
from experiments.harness.journal import Journal
from experiments.harness.measured_run import measured_run
from experiments.harness.names import check_named_once
from vaejax.benchmark import CostReport, fold_count
from vaejax.benchmark.cells import (
    Point,
    check_gradients,
    make_groups,
)
from vaejax.benchmark.ranking import SURE
from vaejax.bounds import BOUNDS
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Params,
    VaejaxError,
    unknown,
)


class Results(NamedTuple):
    """A row per candidate, as in results.csv, the recommended row if any, advice."""

    rows: list[AdviceRow]
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
    allowed = ("all", *(name for name in Params._fields if name != "auxiliary"))
    if config.group not in allowed:
        raise unknown("group", config.group, allowed)
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
    bound, estimators = check(config)
    candidates = make_candidates(config, bound, estimators)
    if not any(_may_be_recommended(config, c) for c in candidates):
        raise VaejaxError(
            "no candidate can be recommended: "
            + "; ".join(sorted({f"{c.name}: {c.verdict.reason}" for c in candidates}))
            + "; use other estimators, or --allow-bias for biased ones"
        )
    with measured_run(config) as run:
        return _advise(run, config, candidates)


def make_candidates(
    config: Config, bound: Bound, estimators: list[Estimator]
) -> list[Candidate]:
    """Make a candidate of every combination, with its verdict."""
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
    points = [
        Point(
            model=place.model,
            params=place.params,
            batch=Batch(place.examples, jnp.arange(config.pool)),
            keys=keys.comparison,
            draws=config.draws,
            batch_size=size,
            trained_with=place.estimator,
            trained_state=place.state,
        )
        for size in config.batch_size
    ]
    # The reference is the gradient of the whole pool.
    whole = points[0]._replace(batch_size=None)
    check_gradients(whole, max(config.num_samples), 1)
    return [
        Candidate(point, group, row.cell, row.verdict)
        for point in points
        for group in make_groups(
            point, [bound], estimators, config.num_samples, config.num_outer
        )
        for row in group.rows.values()
    ]


def _may_be_recommended(config: Config, candidate: Candidate) -> bool:
    status = candidate.verdict.status
    return status == "unbiased" or (config.allow_bias and status == "biased")


def _advise(journal: Journal, config: Config, candidates: list[Candidate]) -> Results:
    measured = [c for c in candidates if c.verdict.status != "refused"]
    print(f"{len(candidates)} candidates, {len(measured)} valid -> {config.out}")
    known = [journal.read(c.choice, "cost") for c in measured]
    is_measured = None not in known
    found = (
        [CostReport(**cost) for cost in known] if is_measured else costs_of(measured)
    )
    costs = dict(zip(measured, found, strict=True))
    fitting = [c for c in measured if _fits(config, costs[c])]
    may_win = [_may_be_recommended(config, c) for c in fitting]
    if not any(may_win):
        eligible = [costs[c] for c in measured if _may_be_recommended(config, c)]
        fastest = min(cost.seconds_per_gradient for cost in eligible)
        smallest = min(cost.peak_bytes for cost in eligible)
        raise VaejaxError(
            f"no candidate fits the budget: the fastest takes {fastest:.2g} s, the "
            f"smallest {smallest:.0f} bytes; raise the budget, or use smaller K, M or "
            "batch sizes"
        )
    if not is_measured:  # written once a candidate fits the budget
        for candidate, cost in costs.items():
            journal.write(candidate.choice, cost=cost._asdict())
    ranking, passes = draw(
        fitting,
        costs,
        may_win,
        journal,
        passes=config.passes,
        group=config.group,
        seed=config.seed,
    )
    rows = {c: _undrawn(c, costs.get(c)) for c in candidates}
    leader = ranking.per_second.best
    won = ranking.per_second.chance[leader] >= SURE
    for at, candidate in enumerate(fitting):
        if not may_win[at]:
            verdict = "biased"
        elif at == leader:
            verdict = "recommended" if won else "in front"
        else:
            tied = ranking.per_second.tied[at]
            verdict = "cannot be told apart" if tied else "behind"
        signal: dict[str, Any] = {}
        for name, comparison in zip(SIGNAL, ranking, strict=True):
            signal[name] = float(comparison.value[at])
            signal[f"{name}_stderr"] = float(comparison.stderr[at])
            signal[f"{name}_chance_best"] = float(comparison.chance[at])
        rows[candidate] = dataclasses.replace(
            rows[candidate],
            verdict=verdict,
            draws=config.draws * passes[at],
            reference=journal.read((*candidate.choice, 0), "reference"),
            **signal,
        )
    best, step_best = (rows[fitting[comparison.best]] for comparison in ranking)
    whole = list(rows.values())
    command = command_of("advise", config)
    advice = advice_report.write(
        config.out, whole, best, step_best, config.group, command
    )
    return Results(whole, best if won else None, advice, config.out)


def _undrawn(candidate: Candidate, cost: CostReport | None) -> AdviceRow:
    """The row of a candidate whose gradient is not drawn, or not valid (no cost)."""
    cell = candidate.cell._asdict()
    del cell["step"]
    return AdviceRow(
        **cell,
        **candidate.verdict._asdict(),
        verdict="refused" if cost is None else "over budget",
        **({} if cost is None else cost._asdict()),
    )


def _fits(config: Config, cost: CostReport) -> bool:
    seconds, size = config.max_seconds or np.inf, config.max_bytes or np.inf
    return cost.seconds_per_gradient <= seconds and cost.peak_bytes <= size


if __name__ == "__main__":
    run_main(Config, run)
