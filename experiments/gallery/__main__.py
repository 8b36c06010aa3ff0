"""Train the systems of the literature, and show their purpose.

    python -m experiments.gallery --systems vae vade --out runs/gallery

Every training is one of `experiments.train`, in a separate folder; finished
trainings are not repeated, and an interrupted one goes on with --resume. The report,
`report.html`, has a section for each system.
"""

import dataclasses
import pkgutil
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Settings

PRESETS = ("short", "paper")
FOLDER = Path(__file__).parent / "systems"
SYSTEMS = [module.name for module in pkgutil.iter_modules([str(FOLDER)])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Train the systems of the literature and show what each is for."""

    systems: Annotated[tuple[str, ...], option("NAME..", ", ".join(SYSTEMS))] = ()
    """names of the systems (default: all)"""
    preset: Annotated[str, option("NAME")] = "short"
    """sizes of the trainings: short (minutes on two cores), or paper"""
    data_dir: Annotated[Path | None, option("DIR")] = None
    """folder of the prepared data (default: $TFDS_DATA_DIR)"""
    out: Annotated[Path, option("DIR")] = Path("runs/gallery")
    """folder of the report and the trainings"""
    overwrite: bool = False
    """replace the gallery in --out"""
    resume: bool = False
    """continue the unfinished gallery in --out"""


if __name__ == "__main__":
    read_command_line(Config)

import time
from typing import NamedTuple

from experiments import train
from experiments.gallery.entries import ENTRIES
from experiments.gallery.entry import Entry, Shown
from experiments.harness import run_folder, run_settings
from experiments.harness.cli import command_of
from experiments.harness.json_files import read_json
from experiments.harness.machine import forget_programs
from experiments.harness.result_table import numbers_of
from experiments.training.load import load_trained
from vaejax.core import unknown
from vaejax.data import load as load_data
from vaejax.plotting import Section, save, write_report


class Results(NamedTuple):
    """The results of each system, and the path of the report."""

    numbers: dict[str, dict[str, float]]
    report: Path


def check(config: Config) -> dict[str, Entry]:
    """The systems asked for, after a check of all their trainings.

    Raises:
        VaejaxError: an unknown system or preset, or a training that cannot be.
    """
    names = config.systems or tuple(ENTRIES)
    if config.preset not in PRESETS:
        raise unknown("preset", config.preset, PRESETS)
    for name in names:
        if name not in ENTRIES:
            raise unknown("system", name, ENTRIES)
        for training in ENTRIES[name].presets[config.preset].values():
            train.check(training)
    return {name: ENTRIES[name] for name in names}


def run(config: Config) -> Results:
    """Train and show every system; write results.json, figures and report.html.

    Raises:
        VaejaxError: a setting that cannot be, or data that are missing, before anything
            is computed.
    """
    entries = check(config)
    trainings = [
        one
        for entry in entries.values()
        for one in entry.presets[config.preset].values()
    ]
    for dataset in sorted({training.dataset for training in trainings}):
        load_data(dataset, "test", data_dir=config.data_dir)  # fail at once if missing
    with run_folder.open_run(
        config.out, config, overwrite=config.overwrite, resume=config.resume
    ):
        shown, seconds = {}, {}
        for name, entry in entries.items():
            shown[name], seconds[name] = _show(config, name, entry)
            print(f"{name}: {shown[name].finding} ({seconds[name]:.0f} s)")
        numbers = {name: dict(one.numbers) for name, one in shown.items()}
        report = write_report(
            config.out / "report.html",
            title="The variational autoencoder and its family",
            lead=[f"{entries[name].title}: {shown[name].finding}" for name in entries],
            sections=[
                _section(config, name, entries[name], shown[name]) for name in entries
            ],
        )
        run_folder.write_json(
            config.out / "results.json",
            {
                "systems": numbers,
                "findings": {name: one.finding for name, one in shown.items()},
                "seconds": seconds,
                "versions": run_folder.versions(),
            },
        )
        print(f"report: {report}, {sum(seconds.values()) / 60:.0f} minutes in all")
        return Results(numbers, report)


def _show(config: Config, name: str, entry: Entry) -> tuple[Shown, float]:
    """Train the missing trainings, show all, and return the seconds taken.

    The seconds include trainings that an earlier, interrupted gallery finished.
    """
    folder = config.out / name
    taken, spent = folder / "seconds.json", {}
    if taken.exists() and not config.overwrite:
        spent = numbers_of(read_json(taken))
    trainings = entry.presets[config.preset]
    for label, training in trainings.items():
        placed = _placed(config, folder, label, training)
        run_folder.heal(placed.out)
        finished = (placed.out / "results.json").exists()
        if finished and not config.overwrite:
            before = run_settings.saved_settings(placed.out, type(placed))
            run_settings.check_settings(before, placed, placed.out)
            continue
        begun = (placed.out / "config.json").exists() and not config.overwrite
        start = time.perf_counter()
        train.run(dataclasses.replace(placed, resume=begun, overwrite=config.overwrite))
        spent[label] = time.perf_counter() - start
        run_folder.write_json(taken, spent)
        forget_programs()
    start = time.perf_counter()
    shown = entry.show({label: load_trained(folder / label) for label in trainings})
    for number, figure in enumerate(shown.figures, start=1):
        save(figure, folder / f"figure_{number}.png")
    forget_programs()
    return shown, sum(spent.values()) + time.perf_counter() - start


def _placed(
    config: Config, folder: Path, label: str, training: train.Config
) -> train.Config:
    """The training with its folder, and the folder of its start."""
    start = training.start_from
    return dataclasses.replace(
        training,
        out=folder / label,
        data_dir=config.data_dir,
        start_from=None if start is None else folder / start,
    )


def _section(config: Config, name: str, entry: Entry, shown: Shown) -> Section:
    trainings = entry.presets[config.preset]
    commands = [
        command_of("train", _placed(config, config.out / name, label, training))
        for label, training in trainings.items()
    ]
    return Section(
        title=entry.title,
        text=f"{entry.text}\n\n{shown.finding[:1].upper()}{shown.finding[1:]}",
        tables=shown.tables,
        figures=shown.figures,
        command="\n".join(commands),
    )


if __name__ == "__main__":
    run_main(Config, run)
