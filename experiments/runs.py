"""List the runs under a folder, and compare some of them.

    python -m experiments.runs runs
    python -m experiments.runs --compare runs/vae runs/iwae5 --out runs/comparison

A run is a folder that an experiment wrote (see `run_folder`). A damaged file is
reported, and the rest is shown. Only the comparison is written.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """List the runs under some folders, or compare some of them."""

    folders: Annotated[tuple[Path, ...], option("DIR..", positional=True)] = ()
    """folders of runs (default: runs)"""
    compare: Annotated[tuple[Path, ...], option("RUN..")] = ()
    """runs to compare, by a table and curves, in the place of a list"""
    out: Annotated[Path, option("DIR")] = Path("runs/comparison")
    """folder of the comparison"""
    overwrite: bool = False
    """replace a comparison of other runs in --out"""


if __name__ == "__main__":
    read_command_line(Config)

import importlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from experiments.__main__ import commands
from experiments.harness import (
    metric_rows,
    replacement,
    run_folder,
    run_lock,
    run_settings,
)
from experiments.harness.json_files import read_json, read_lines
from experiments.harness.result_table import (
    columns_of,
    differing,
    numbers_of,
    plain,
    print_rows,
    write_csv,
)
from vaejax.benchmark.numbers import number_of
from vaejax.core import VaejaxError
from vaejax.data.files import read_small
from vaejax.plotting import bound_curves, save

LARGEST = 2**20  # bytes of failure.txt
CURVES_DEPEND_ON = ("dataset", "protocol", "num_samples")  # beside the model


class Run(NamedTuple):
    """The contents of a run's folder."""

    path: Path
    status: str  # finished, running, failed, unfinished; damaged
    settings: dict[str, Any]
    metrics: list[dict[str, Any]]  # rows of metrics.jsonl
    results: dict[str, Any]
    problems: list[str]  # read errors, and the reason of a failure

    def numbers(self) -> dict[str, float]:
        """The run's results, and its last ELBO, which all runs define alike."""
        last = numbers_of(self.metrics[-1]) if self.metrics else {}
        found = {k: v for k, v in numbers_of(self.results).items() if "." in k}
        curves = ("validation.elbo", "train.elbo")
        return found | {f"last.{name}": last[name] for name in curves if name in last}

    def epoch(self) -> int | None:
        """The number of epochs done, if the experiment has epochs."""
        return self.metrics[-1].get("epoch") if self.metrics else None


def run(config: Config) -> list[Run]:
    """Print the runs; write curves.png and comparison.csv of those to compare.

    Raises:
        VaejaxError: there is no run.
    """
    if config.compare:
        if config.folders:
            raise VaejaxError(
                "--compare already names the runs: leave the other folders out"
            )
        runs = [read_run(path) for path in config.compare]
        _compare(runs, config)
    else:
        folders = config.folders or (Path("runs"),)
        runs = [read_run(path) for folder in folders for path in find_runs(folder)]
        if not runs:
            raise VaejaxError(
                f"there is no run under {', '.join(map(str, folders))}: name the "
                "folder of a run, or a folder that holds runs"
            )
        _list(runs)
    for found in runs:
        for problem in found.problems:
            print(problem)
    return runs


def find_runs(folder: Path) -> Iterator[Path]:
    """The folders with a run, among the folder and those below, in order.

    Raises:
        VaejaxError: there is no such folder.
    """
    if not folder.is_dir():
        raise VaejaxError(f"{folder} is not a folder: name a folder that holds runs")
    for path, below, _ in os.walk(folder):
        below[:] = sorted(
            name
            for name in below
            if name not in run_folder.FOLDERS and not name.startswith(".")
        )
        if _find(Path(path), "config.json").exists():
            yield Path(path)


def read_run(path: Path) -> Run:
    """Read the files of a run; a damaged file is a problem, and no error.

    Raises:
        VaejaxError: the folder holds no run.
    """
    if not _find(path, "config.json").exists():
        raise VaejaxError(f"{path} holds no run: name a folder with a config.json")
    problems: list[str] = []
    settings = _read_object(_find(path, "config.json"), problems)
    results = _read_object(_find(path, "results.json"), problems)
    metrics = _read_metrics(_find(path, "metrics.jsonl"), problems)
    failure = _find(path, "failure.txt")
    if problems:
        status = "damaged"
    elif run_lock.is_running(path):
        status = "running"
    elif results:
        status = _outcome(path, results, problems)
    elif failure.exists():
        status = "failed"
        problems.append(f"{path} failed: {_read_text(failure)}")
    else:
        status = "unfinished"
    return Run(path, status, settings, metrics, results, problems)


def _outcome(path: Path, results: dict[str, Any], problems: list[str]) -> str:
    """The status of a run with results; that of a sweep follows from its trials."""
    trials = results.get("trials")
    rows = trials if isinstance(trials, list) else []
    ended = [row.get("status") for row in rows if isinstance(row, dict)]
    if wrong := sum(status in ("failed", "damaged") for status in ended):
        problems.append(
            f"{path} failed: {wrong} of {number_of(len(ended), 'trial')} failed, and "
            "results.csv says why"
        )
        return "failed"
    return "unfinished" if "unfinished" in ended else "finished"


def _find(path: Path, name: str) -> Path:
    """The path of a run's file, also if a killed process has set the run aside."""
    return path / name if run_lock.is_running(path) else replacement.find(path, name)


def _read_text(path: Path) -> str:
    try:
        return read_small(path, LARGEST).decode(errors="replace").strip()
    except OSError as error:
        return f"cannot read {path} ({error.strerror})"
    except ValueError as error:
        return f"cannot read {path} ({error})"


def _read_object(path: Path, problems: list[str]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except VaejaxError as error:
        problems.append(str(error))
        return {}


def _read_metrics(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The readable lines; a running process may still be writing the last line."""
    if not path.exists():
        return []
    try:
        rows, damaged = read_lines(path, metric_rows.is_row)
    except VaejaxError as error:
        rows, damaged = [], [str(error)]
    problems += damaged
    return rows


def _list(runs: Sequence[Run]) -> None:
    """Print a table per folder and command; a command's runs share setting names."""
    names = _commands()
    kinds: dict[Any, list[Run]] = {}
    for found in runs:
        kinds.setdefault((found.path.parent, *found.settings), []).append(found)
    for (parent, *settings), alike in kinds.items():
        usual = _usual([found.settings for found in alike])
        rows = [
            {
                "run": found.path.name,
                "status": found.status,
                "epoch": found.epoch(),
                "settings": [
                    f"{name}={plain(value)}"
                    for name, value in found.settings.items()
                    if value is not None and (name not in usual or value != usual[name])
                ],
                **found.numbers(),
            }
            for found in alike
        ]
        finished_first = sorted(alike, key=lambda found: not found.results)
        columns = columns_of([found.numbers() for found in finished_first])
        first, *more = columns or ["epoch"]
        always = dict.fromkeys(["run", "status", "epoch", first, "settings"])
        command = names.get(frozenset([*settings, run_settings.X64]), "unknown command")
        title = f"{command} in {parent} ({len(rows)})"
        print_rows(title, rows, list(always), more)


def _commands() -> dict[frozenset[str], str]:
    """The commands, by the names of the settings that a config.json of theirs has."""
    found = {}
    for name in commands():
        module = importlib.import_module(f"experiments.{name}")
        if hasattr(module, "__path__"):  # a package has its Config in its __main__
            module = importlib.import_module(f"experiments.{name}.__main__")
        settings = {field.name for field in dataclasses.fields(module.Config)}
        settings -= run_settings.NO_SETTINGS
        found[frozenset([*settings, run_settings.X64])] = name
    return found


def _usual(settings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The values that more than half of the runs have, which a table omits."""
    return {
        name: value
        for one in settings
        for name, value in one.items()
        if 2 * sum(other[name] == value for other in settings) > len(settings)
    }


def _compare(runs: Sequence[Run], config: Config) -> None:
    """Write a table of differing settings and results, with a column for every run."""
    paths = [found.path.resolve() for found in runs]
    above = os.path.commonpath([path.parent for path in paths])
    names = [str(path.relative_to(above)) for path in paths]
    if len(set(names)) < len(names):
        raise VaejaxError("--compare names a run twice: name each run once")
    facts = [
        {"status": found.status, "epoch": found.epoch()}
        | {name: plain(value) for name, value in found.settings.items()}
        | found.numbers()
        for found in runs
    ]
    rows = [
        {"": fact, **{n: of.get(fact) for n, of in zip(names, facts, strict=True)}}
        for fact in differing(facts)
    ]
    # An existing comparison of the same runs is replaced.
    kept = dataclasses.replace(config, compare=tuple(paths), overwrite=False)
    settings = run_settings.settings_of(kept)
    is_same = settings == _read_object(_find(config.out, "config.json"), [])
    overwrite = config.overwrite or is_same
    with run_folder.open_run(config.out, kept, overwrite=overwrite):
        write_csv(config.out / "comparison.csv", rows, ["", *names])
        print_rows("what differs", rows, ["", *names])
        held = {part for found in runs for row in found.metrics for part in _parts(row)}
        # An autoencoder's code has no density, and so no ELBO.
        if part := next((part for part in ("elbo", "log_px_z") if part in held), None):
            labels = _labels(names, runs)
            curves = {label: of.metrics for label, of in zip(labels, runs, strict=True)}
            save(bound_curves(curves, part), config.out / "curves.png")
            without = [
                name
                for name, of in zip(names, runs, strict=True)
                if not any(part in _parts(row) for row in of.metrics)
            ]
            if without:
                print(
                    f"curves.png has no line for {', '.join(without)}, which recorded "
                    f"no {part}"
                )
        run_folder.write_json(config.out / "results.json", {"runs": names})
    print(f"table and curves: {config.out}")


def _parts(row: dict[str, Any]) -> set[str]:
    return {name for split in metric_rows.FIGURES for name in row.get(split) or {}}


def _labels(names: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Every run's name and, where they differ, the settings behind its curve.

    K determines the noise of an epoch's figure.
    """
    chosen = ({k: v for k, v in of.results.items() if k == "protocol"} for of in runs)
    facts = [of.settings | own for of, own in zip(runs, chosen, strict=True)]
    told = [name for name in differing(facts) if name in CURVES_DEPEND_ON]
    return [
        " ".join([name, *(f"{fact}={of[fact]}" for fact in told if of.get(fact))])
        for name, of in zip(names, facts, strict=True)
    ]


if __name__ == "__main__":
    run_main(Config, run)
