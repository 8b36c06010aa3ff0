"""Run an experiment for every combination of settings.

    python -m experiments.sweep --experiment train \
        --grid num_samples=1,5,50 estimator=dreg,vimco seed=0:3 \
        --settings dataset=digits bound=iwae epochs=20 --out runs/sweep

Trials run in place, one after the other, or on Ray with `--ray local` or `--ray auto`.
Every trial has a separate folder; the same command goes on with unfinished trials.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Settings
from vaejax.core.ranges import CountOrZero, Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Run an experiment for every combination of settings; tabulate the results."""

    experiment: Annotated[str, option("NAME")] = "train"
    """command of this package, or the dotted name of your own module"""
    grid: Annotated[tuple[str, ...], option("S=V,V..", splits=False)] = ()
    """settings that vary, as in num_samples=1,5,50 seed=0:3"""
    settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """settings of every trial, as in epochs=2 model_settings="hidden=8" """
    ray: Annotated[str | None, option("WHERE")] = None
    """Ray cluster that runs the trials: local, auto (a running one) or an address"""
    max_retries: Annotated[CountOrZero, option("N")] = 3
    """restarts of a trial whose Ray worker died"""
    cpus_per_trial: Annotated[float, option("N"), Range(0, 1e6)] = 1.0
    """cores that a trial claims from Ray"""
    gpus_per_trial: Annotated[float, option("N"), Range(0, 1e6)] = 0.0
    """GPUs that a trial claims from Ray, such as 0.25 to share one"""
    out: Annotated[Path, option("DIR")] = Path("runs/sweep")
    """folder of the trials and the table"""


if __name__ == "__main__":
    read_command_line(Config)

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from experiments.harness import run_folder, run_settings
from experiments.harness.extras import import_extra
from experiments.harness.json_files import read_json
from experiments.harness.progress import progress_bar
from experiments.harness.result_table import (
    columns_of,
    differing,
    numbers_of,
    print_rows,
    write_csv,
)
from experiments.sweeps.choice import best_by_validation
from experiments.sweeps.figure import draw
from experiments.sweeps.grid import Trial, load_experiment, make_trials
from experiments.sweeps.trials import run_in_place, run_on_ray
from vaejax.benchmark.numbers import number_of
from vaejax.core import IncompatibleError, VaejaxError

Blocked = dict[str, tuple[str, str]]  # by trial: refused or damaged, and the reason


class Results(NamedTuple):
    """A row per trial, as in results.csv, and the files' folder."""

    rows: list[dict[str, Any]]
    out: Path

    def failed(self) -> list[str]:
        """The trials that failed, or that a damaged file keeps from running."""
        wrong = ("failed", "damaged")
        return [row["trial"] for row in self.rows if row["status"] in wrong]


def run(config: Config) -> Results:
    """Run unfinished trials; write results.csv and results.json after every trial.

    The row of a trial has the reason if the trial fails, has a damaged file, or is a
    combination of model, bound and estimator that cannot be, which is known before the
    first trial starts.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    if config.ray is not None:
        import_extra("ray")
        # The trials need the GPU's memory; JAX would claim most of it here.
        jax.config.update("jax_platforms", "cpu")
    trials = make_trials(config.experiment, config.grid, config.settings, config.out)
    all_trials = f"{number_of(len(trials), 'trial')} of {config.experiment}"
    print(f"checking the settings of {all_trials}")
    blocked = _check_trials(config.experiment, trials)
    waiting = [t for t in trials if t.name not in blocked and not _is_finished(t)]
    refused = [reason for status, reason in blocked.values() if status == "refused"]
    print(
        f"{all_trials}: {len(refused)} refused, "
        f"{len(trials) - len(blocked) - len(waiting)} finished before, "
        f"{len(waiting)} to run -> {config.out}"
    )
    for reason, count in Counter(refused).items():
        print(f"{count} refused: {reason}")
    try:
        with run_folder.open_run(
            config.out,
            config,
            overwrite=False,
            resume=True,
            free=lambda name, before, now: name != "experiment",
            reopens=lambda before: True,
        ):
            rows = _run_trials(config, trials, waiting, blocked)
            drawn = draw(config.out, rows, list(trials[0].varied))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"the finished trials are in {config.out}; the same command continues "
            "from there"
        ) from None
    figures = [name for name in differing(rows) if "." in name]
    print_rows(f"{config.out}", rows, [*trials[0].varied, "status"], figures)
    if best := best_by_validation(rows, list(trials[0].varied)):
        print(best)
    for row in rows:
        if row["status"] == "damaged":
            print(row["message"])
    print(f"table: {config.out / 'results.csv'}")
    if drawn:
        print(f"figure: {config.out / 'figures'}")
    return Results(rows, config.out)


def _run_trials(
    config: Config, trials: list[Trial], waiting: list[Trial], blocked: Blocked
) -> list[dict[str, Any]]:
    """Run the waiting trials; return the rows of all trials."""
    messages: dict[str, str | None] = {}
    rows = _write_tables(config.out, trials, blocked, messages)
    if config.ray is None:
        outcomes = run_in_place(config.experiment, waiting)
    else:
        outcomes = run_on_ray(
            config.experiment,
            waiting,
            where=config.ray,
            max_retries=config.max_retries,
            cpus_per_trial=config.cpus_per_trial,
            gpus_per_trial=config.gpus_per_trial,
        )
    for done, (trial, message) in enumerate(outcomes, start=1):
        messages[trial.name] = message
        rows = _write_tables(config.out, trials, blocked, messages)
        ended = "finished" if message is None else f"failed: {message}"
        print(f"[{done}/{len(waiting)}] {trial.name} {ended}")
    return rows


def _check_trials(experiment: str, trials: list[Trial]) -> Blocked:
    """The trials that cannot be run.

    Raises:
        VaejaxError: a setting that cannot be, whatever it is combined with, or one of
            another trial in the same folder.
    """
    check = getattr(load_experiment(experiment), "check", lambda config: None)
    refusals: dict[Any, str | None] = {}  # by the settings that vary, but the seed
    blocked = {}
    with progress_bar("checking", len(trials), "trials") as update:
        for done, trial in enumerate(trials, start=1):
            alike = tuple(item for item in trial.varied.items() if item[0] != "seed")
            try:
                if alike not in refusals:
                    refusals[alike] = _refusal(check, trial)
                if (refusal := refusals[alike]) is not None:
                    blocked[trial.name] = "refused", refusal
                elif (damage := _damage(trial)) is not None:
                    blocked[trial.name] = "damaged", damage
            except VaejaxError as error:
                raise VaejaxError(f"{trial.name}: {error}") from error
            update(done)
    return blocked


def _refusal(check: Callable[[Any], object], trial: Trial) -> str | None:
    """The reason why the model, bound and estimator cannot be combined, if any."""
    try:
        check(trial.config)
    except IncompatibleError as error:
        return str(error)
    return None


def _damage(trial: Trial) -> str | None:
    """The damage of the trial's config.json, if any.

    Raises:
        VaejaxError: its settings are those of another trial.
    """
    out = trial.config.out
    if not (out / "config.json").exists():
        return None
    try:
        before = run_settings.saved_settings(out, type(trial.config))
    except VaejaxError as error:
        return str(error)
    run_settings.check_settings(before, trial.config, out)
    return None


def _is_finished(trial: Trial) -> bool:
    return (trial.config.out / "results.json").exists()


def _write_tables(
    out: Path, trials: list[Trial], blocked: Blocked, messages: dict[str, str | None]
) -> list[dict[str, Any]]:
    """Write a row per trial: settings, status, error message, and numbers found."""
    rows = []
    for trial in trials:
        row = {"trial": trial.name, **trial.varied}
        message = messages.get(trial.name)
        if trial.name in blocked:
            row["status"], message = blocked[trial.name]
        elif message is not None:
            row["status"] = "failed"
        else:
            row["status"] = "finished" if _is_finished(trial) else "unfinished"
        row["message"] = message
        if row["status"] == "finished":
            try:
                found = read_json(trial.config.out / "results.json")
                row |= numbers_of(found) | row
            except VaejaxError as error:
                row |= {"status": "damaged", "message": str(error)}
        rows.append(row)
    write_csv(out / "results.csv", rows, columns_of(rows))
    run_folder.write_json(out / "results.json", {"trials": rows})
    return rows


def main(config: Config) -> None:
    """Run the sweep, and raise if a trial failed."""
    results = run(config)
    if failed := results.failed():
        raise VaejaxError(
            f"{len(failed)} of {number_of(len(results.rows), 'trial')} failed: "
            f"{', '.join(failed)}. "
            f"The messages in {results.out / 'results.csv'} and each one's log.txt say "
            "why; the same command tries them again"
        )


if __name__ == "__main__":
    run_main(Config, main)
