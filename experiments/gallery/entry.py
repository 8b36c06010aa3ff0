"""What the gallery knows of a system: what it trains, and what it then shows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from experiments import train
from experiments.harness import run_folder
from experiments.training.prepared_run import (
    Data,
    load_run,
    params_by_seed,
)
from vaejax.core import Model, Params, record
from vaejax.plotting import Table
from vaejax.training import checkpoints

Trainings = Mapping[str, train.Config]  # by label, in the order in which they run


class Trained(NamedTuple):
    """One of a system's trainings, as it ended."""

    config: train.Config
    model: Model
    seeds: list[Params]
    data: Data

    @property
    def params(self) -> Params:
        """Those of the first seed."""
        return self.seeds[0]


class Shown(NamedTuple):
    """What a system's trainings show."""

    numbers: Mapping[str, float]  # of results.json
    finding: str  # the numbers in a sentence: what was to be shown, and whether it is
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()


@record
class Entry:
    """A system: its idea and source, its trainings, and what they are to show.

    A training that starts from another names that one's label in `start_from`.
    """

    title: str
    text: str
    presets: Mapping[str, Trainings]  # "short" for two cores, "paper" of its size
    show: Callable[[Mapping[str, Trained]], Shown]


def last_test(trained: Trained) -> dict[str, float]:
    """The metrics of the test examples after the last epoch, as in metrics.jsonl."""
    return run_folder.read_rows(trained.config.out)[-1]["test"]


def load(folder: Path) -> Trained:
    """A finished training, with the parameters of all its seeds."""
    run = load_run(folder)
    state, _ = checkpoints.restore(folder / "checkpoints", run.like)
    return Trained(run.config, run.model, params_by_seed(run.config, state), run.data)
