"""Training and evaluation speed of vaejax beside its peers, in one interleaved run.

    python -m benchmarks.speed --peers torch=/env/bin/python numpyro=/env/bin/python

Absolute figures move by a factor of two between machines and hours, so every claim is
a ratio within one run: contestants take turns at pieces of work of one or two seconds,
a ratio is taken within each round, and its median over the rounds is reported with the
smallest and the largest. The work is that of the IWAE paper's one-layer network (Burda,
Grosse and Salakhutdinov 2016, arXiv:1509.00519); speed does not depend on the images.
"""

import json
import os
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from benchmarks.contestants import Contestant, ContestantError, parse_peers
from benchmarks.machine import describe_machine, sgemm_flops_per_second
from benchmarks.summary import summarize, tables
from vaejax.core import VaejaxError, record

MAX_TEST_IMAGES = 10_000  # as in peers/protocol.py


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure vaejax beside its peers."""

    peers: tuple[str, ...] = ()
    """NAME=PYTHON: torch, torch_compile or numpyro, and its environment's python."""
    num_samples: tuple[int, ...] = (1, 5, 50)
    """K of the training works."""
    evaluation_samples: int = 5000
    """Importance samples an image of the evaluation work."""
    batch_size: int = 100
    rounds: int = 5
    seconds: float = 1.5
    """Length of one piece of work."""
    data: Path | None = None
    """uint8 images [N, 28, 28, 1] in an .npy file; by default made up."""
    out: Path = Path("runs/speed")


@record
class Work:
    """A kind of work: a command without its length, and what its length is called."""

    name: str
    command: dict[str, Any]
    length: str
    first_length: int
    max_length: int

    def of_length(self, length: int) -> dict[str, Any]:
        """Make the complete command."""
        return self.command | {self.length: length}


def works_of(config: Config) -> list[Work]:
    """List the kinds of work, evaluation last: it takes the parameters trained last."""
    train = [
        Work(
            name=f"train K={k}",
            command={
                "work": "train",
                "num_samples": k,
                "batch_size": config.batch_size,
            },
            length="steps",
            first_length=50,
            max_length=1_000_000,
        )
        for k in config.num_samples
    ]
    evaluate = Work(
        name=f"evaluate S={config.evaluation_samples}",
        command={"work": "evaluate", "num_samples": config.evaluation_samples},
        length="num_images",
        first_length=10,
        max_length=MAX_TEST_IMAGES,
    )
    return [*train, evaluate]


def run(config: Config, console: Console) -> dict[str, Any]:
    """Measure every contestant that runs; what does not run is reported as such."""
    config.out.mkdir(parents=True, exist_ok=True)
    works = works_of(config)
    with tempfile.TemporaryDirectory() as scratch:
        data = config.data or save_synthetic_images(Path(scratch) / "images.npy")
        commands = parse_peers(config.peers, data)
        with closing(Field(commands, config.out, console)) as field:
            rounds = measure(field, works, config, console)
    results = {
        "summary": summarize(works, rounds),
        "not_run": field.not_run,
        "machine": describe_machine(),
        "versions": field.versions,
        "first_values": field.first_values,
        "rounds": rounds,
    }
    (config.out / "results.json").write_text(json.dumps(results, indent=2))
    return results


def measure(
    field: "Field", works: list[Work], config: Config, console: Console
) -> list[dict[str, Any]]:
    """Let the contestants take turns, round by round, each work after the other."""
    console.print("Warming up and finding the length of each piece of work")
    # First commands come first: later ones train for different numbers of steps.
    first = {work.name: field.begin(work) for work in works}
    calls = {
        work.name: field.lengthen(work, first[work.name], config.seconds)
        for work in works
    }
    rounds = []
    for number in range(config.rounds):
        console.print(f"Round {number + 1} of {config.rounds}")
        answers = {work.name: field.ask_all(calls[work.name]) for work in works}
        sgemm = sgemm_flops_per_second(config.seconds)
        load = os.getloadavg()[0]
        rounds.append({"works": answers, "sgemm": sgemm, "load": load})
    return rounds


class Field:
    """The contestants that run; one that fails leaves the field with its reason."""

    def __init__(
        self, commands: dict[str, list[str]], logs: Path, console: Console
    ) -> None:
        self.running: dict[str, Contestant] = {}
        self.not_run: dict[str, str] = {}
        self.first_values: dict[str, dict[str, float]] = {}
        self.console = console
        for name, command in commands.items():
            try:
                self.running[name] = Contestant(name, command, logs / f"{name}.log")
            except ContestantError as error:
                self._drop(name, error)
        self.versions = {name: peer.versions for name, peer in self.running.items()}

    def begin(self, work: Work) -> dict[str, dict[str, float]]:
        """Have all do the same first command.

        The values of their answers must agree up to chance: they are kept as the
        evidence that the work is the same.
        """
        first = work.of_length(work.first_length)
        answers = self.ask_all(dict.fromkeys(self.running, first))
        self.first_values[work.name] = {n: a["value"] for n, a in answers.items()}
        return answers

    def lengthen(
        self, work: Work, first: dict[str, dict[str, float]], seconds: float
    ) -> dict[str, dict[str, Any]]:
        """Find and warm up each contestant's command of about `seconds`."""
        calls = {}
        for name in self.running:
            answer = first[name]
            length = round(work.first_length * seconds / answer["seconds"])
            calls[name] = work.of_length(max(1, min(length, work.max_length)))
        self.ask_all(calls)
        return calls

    def ask_all(self, calls: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
        """Have each running contestant do its own command, one after the other."""
        answers = {}
        for name, peer in list(self.running.items()):
            try:
                answers[name] = peer.ask(calls[name])
            except ContestantError as error:
                self._drop(name, error)
        return answers

    def close(self) -> None:
        """End all contestants."""
        for peer in self.running.values():
            peer.close()

    def _drop(self, name: str, error: ContestantError) -> None:
        self.running.pop(name, None)
        self.not_run[name] = str(error)
        self.console.print(f"[yellow]Not run:[/] {error}")


def save_synthetic_images(path: Path, num_images: int = 60_000) -> Path:
    """Save smooth random blobs on black, uint8 [N, 28, 28, 1], from a fixed seed."""
    rng = np.random.default_rng(0)
    pixel = np.arange(28)
    loc = rng.uniform(6, 22, (2, num_images, 3, 1))
    profile = np.exp(-(((pixel - loc) / 3) ** 2)).astype(np.float32)
    images = np.einsum("nbh,nbw->nhw", *profile).clip(0, 1)
    np.save(path, (255 * images).astype(np.uint8)[..., None])
    return path


def main() -> None:
    """Command line: exit code 0, or 2 with one line for a mistake of the user."""
    console = Console()
    config = tyro.cli(Config, description=__doc__)
    try:
        results = run(config, console)
    except VaejaxError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    for table in tables(results):
        console.print(table)
    console.print(f"Everything is in {config.out / 'results.json'}")


if __name__ == "__main__":
    main()
