"""An entry of the gallery: the trainings of a system and their results."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from experiments.harness.json_files import read_json
from experiments.training.config import Config
from experiments.training.load import Trained
from vaejax.core import record
from vaejax.plotting import Table

Trainings = Mapping[str, Config]  # by label, in the order in which they run


class Shown(NamedTuple):
    """The results of a system's trainings."""

    numbers: Mapping[str, float]  # numbers for results.json
    finding: str  # the numbers in a sentence, with the verdict on the claim
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()


@record
class Entry:
    """A system: its idea and source, its trainings, and the claim to be shown.

    A training that starts from another names the label of the other in `start_from`.
    """

    title: str
    text: str
    presets: Mapping[str, Trainings]  # "short" for two cores, "paper" at full size
    show: Callable[[Mapping[str, Trained]], Shown]


def test_objective(trained: Trained) -> dict[str, float]:
    """The metrics of the objective on the first test examples, at the end."""
    return read_json(trained.config.out / "results.json")["test_objective"]
