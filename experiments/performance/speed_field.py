"""The field of contestants: they take turns, start anew, and race.

A contestant that fails, or does not answer in time, leaves the field, with its reason.
Every answer to be reported is kept in a journal, so that an interrupt loses none.
"""

import os
from pathlib import Path
from typing import Any

from experiments.harness.journal import Journal
from experiments.harness.machine import sgemm_flops_per_second
from experiments.performance.peers.contestants import Contestant, ContestantError
from vaejax.core import record

Answer = dict[str, float]
FIELD = ("field",)  # the cell of the contestants that run


@record
class Work:
    """A kind of work: a command without its length, and the name of its length."""

    name: str
    command: dict[str, Any]
    length: str
    short_length: int
    max_length: int

    def of_length(self, length: int) -> dict[str, Any]:
        """Make the complete command."""
        return self.command | {self.length: min(length, self.max_length)}


class Field:
    """The contestants that run, and the reasons why others do not.

    Args:
        commands: their command lines.
        logs: folder for what they print.
        scratch: folder for compiled programs.
        journal: of what is measured.
        limit: seconds within which a contestant answers.
    """

    def __init__(
        self,
        commands: dict[str, list[str]],
        logs: Path,
        scratch: Path,
        journal: Journal,
        limit: float = 600.0,
    ) -> None:
        self.limit = limit
        self.commands, self.logs, self.scratch = commands, logs, scratch
        self.journal = journal
        self.running: dict[str, Contestant] = {}
        self.not_run: dict[str, str] = journal.read(FIELD, "not_run") or {}
        self.versions: dict[str, dict[str, str]] = journal.read(FIELD, "versions") or {}

    def start(self) -> None:
        """Start all contestants that have not failed before."""
        for name in self._names():
            if contestant := self._start(name, self.scratch / "cache"):
                self.running[name] = contestant
                self.versions[name] = contestant.versions

    def close(self) -> None:
        """Close all running contestants."""
        for contestant in self.running.values():
            contestant.close()
        self.running = {}

    def take_turns(
        self, works: list[Work], rounds: int, seconds: float
    ) -> tuple[dict[str, dict[str, float]], list[dict[str, Any]]]:
        """Measure every work, each contestant in turn, in rounds not in the journal.

        Returns:
            The values of the first short pieces of work, in which all did the same and
            which must agree up to chance; and every round's answers.
        """
        numbers = range(1, rounds + 1)
        waiting = [n for n in numbers if self.journal.read((n,), "sgemm") is None]
        calls: dict[str, dict[str, dict[str, Any]]] = {}
        if waiting:
            self.start()
        for number in waiting:
            print(f"round {number} of {rounds}")
            for work in works:
                cell = (number, work.name)
                if self.journal.read(cell, "answers") is None:
                    if work.name not in calls:
                        calls[work.name] = self._warm_up(work, seconds)
                    answers = self.ask_each(calls[work.name])
                    self.journal.write(cell, answers=answers)
            sgemm, load = sgemm_flops_per_second(seconds), os.getloadavg()[0]
            self.journal.write((number,), sgemm=sgemm, load=load)
        found = [
            {
                "works": {
                    work.name: self.journal.read((number, work.name), "answers")
                    for work in works
                },
                "sgemm": self.journal.read((number,), "sgemm"),
                "load": self.journal.read((number,), "load"),
            }
            for number in numbers
        ]
        for name in self._names():
            if any(
                name not in answers for r in found for answers in r["works"].values()
            ):
                self.not_run[name] = (
                    f"{name}: it took part in some rounds only; use --overwrite to "
                    "start anew and compare it"
                )
        self._note()
        firsts = {w.name: self.journal.read((w.name,), "first_values") for w in works}
        return firsts, found

    def _warm_up(self, work: Work, seconds: float) -> dict[str, dict[str, Any]]:
        """The command, per contestant, that takes about `seconds`."""
        print(f"warming up, and measuring the length of the work: {work.name}")
        short = work.of_length(work.short_length)
        firsts = {name: a["value"] for name, a in self.ask_all(short).items()}
        before = self.journal.read((work.name,), "first_values") or {}
        self.journal.write((work.name,), first_values=firsts | before)
        calls = {
            name: work.of_length(
                max(1, round(work.short_length * seconds / answer["seconds"]))
            )
            for name, answer in self.ask_all(short).items()
        }
        self.ask_each(calls)  # compiles for the final length
        self._note()
        return calls

    def start_anew(self, works: list[Work]) -> dict[str, dict[str, Answer]]:
        """Measure first results and memory, of each work in fresh processes.

        `start_seconds` is from the start of the process until it has its libraries and
        its data; `first_seconds` is the first step, or image, with all compilation;
        `first_seconds_cached` is the same for a second process with the first one's
        programs; `peak_megabytes` is the largest resident memory after 100 more.
        """
        found: dict[str, dict[str, Answer]] = {}
        for work in works:
            print(f"fresh processes: {work.name}")
            cache = self.scratch / f"cache of {work.name}"
            found[work.name] = {}
            for name in self._names():
                cell = ("fresh", work.name, name)
                if self.journal.read(cell, "answer") is None:
                    try:
                        answer = self._first(name, work, cache)
                        if name == "vaejax":
                            again = self._first(name, work, cache)
                            answer["first_seconds_cached"] = again["first_seconds"]
                    except ContestantError as error:
                        self._drop(name, error)
                        continue
                    self.journal.write(cell, answer=answer)
                found[work.name][name] = self.journal.read(cell, "answer")
        self._note()
        return found

    def _first(self, name: str, work: Work, cache: Path) -> Answer:
        log = self.logs / f"{name}_fresh.log"
        contestant = Contestant(name, self.commands[name], log, cache, self.limit)
        try:
            first = contestant.ask(work.of_length(1))
            longer = contestant.ask(work.of_length(100))
        finally:
            contestant.close()
        return {
            "start_seconds": contestant.start_seconds,
            "first_seconds": first["seconds"],
            "peak_megabytes": longer["peak_megabytes"],
        }

    def race(
        self,
        train: dict[str, Any],
        evaluate: dict[str, Any],
        target: float,
        max_seconds: float,
    ) -> dict[str, Any]:
        """Train each contestant in slices, in turn, up to a test log-likelihood.

        Only training counts, compilation included; evaluation is by each contestant's
        own estimate. A contestant that takes `max_seconds` stops.
        """
        print(f"training until the test log-likelihood is {target}")
        self.start()
        curves: dict[str, list[dict[str, float]]] = {n: [] for n in self.running}
        seconds = dict.fromkeys(self.running, 0.0)
        while self.running:
            for name, answer in self.ask_all(train).items():
                seconds[name] += answer["seconds"]
            for name, answer in self.ask_all(evaluate).items():
                point = {"seconds": seconds[name], "log_likelihood": answer["value"]}
                curves[name].append(point)
                print(f"  {name}: {answer['value']:.2f} after {seconds[name]:.1f} s")
                if answer["value"] >= target or seconds[name] >= max_seconds:
                    self.running.pop(name).close()
        return {"log_likelihood": target, "train": train, "curves": curves}

    def ask_all(self, command: dict[str, Any]) -> dict[str, Answer]:
        """Have each running contestant do the same command, one after the other."""
        return self.ask_each(dict.fromkeys(self.running, command))

    def ask_each(self, commands: dict[str, dict[str, Any]]) -> dict[str, Answer]:
        """Have each running contestant do its command, one after the other."""
        answers = {}
        for name, contestant in list(self.running.items()):
            try:
                answers[name] = contestant.ask(commands[name])
            except ContestantError as error:
                self._drop(name, error)
        return answers

    def _note(self) -> None:
        self.journal.write(FIELD, not_run=self.not_run, versions=self.versions)

    def _names(self) -> list[str]:
        return [name for name in self.commands if name not in self.not_run]

    def _start(self, name: str, cache: Path) -> Contestant | None:
        try:
            log = self.logs / f"{name}.log"
            return Contestant(name, self.commands[name], log, cache, self.limit)
        except ContestantError as error:
            self._drop(name, error)
            return None

    def _drop(self, name: str, error: ContestantError) -> None:
        self.running.pop(name, None)
        self.not_run[name] = str(error)
        print(f"not run: {error}")
