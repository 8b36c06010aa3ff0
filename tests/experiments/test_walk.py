"""The way of a training's settings, from the command line to the first step.

Every file of experiments/ is entered once: nothing that has been left is returned to.
"""

import collections
import sys
from pathlib import Path
from types import FrameType

import pytest

from experiments import train
from experiments.harness.cli import run_main
from experiments.training.config import Config
from experiments.training.run import Run

ROOT = f"{Path(train.__file__).parent}/"


class FirstStepError(Exception):
    """The training has begun."""


def file_of(frame: FrameType | None) -> str:
    """The file of experiments/ that a frame, or the nearest that called it, is in."""
    while frame is not None and not frame.f_code.co_filename.startswith(ROOT):
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_filename.removeprefix(ROOT)


def holds_settings(frame: FrameType) -> bool:
    """True if a call is given the settings: by argument, by closure, or in `self`."""
    code = frame.f_code
    taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = [frame.f_locals.get(name) for name in (*taken, *code.co_freevars)]
    inside = getattr(frame.f_locals.get("self"), "__dict__", {})
    return any(isinstance(value, Config | Run) for value in (*given, *inside.values()))


def test_a_walk_counts_closures_and_methods():
    config, seen = Config(), []

    class Holder:
        def __init__(self) -> None:
            self.config = config

        def ask(self) -> None:
            seen.append(holds_settings(sys._getframe()))

    def ask() -> Config:
        seen.append(holds_settings(sys._getframe()))
        return config

    def ask_nothing(other: int) -> None:
        seen.append(holds_settings(sys._getframe()))

    Holder().ask()
    ask()
    ask_nothing(1)
    assert seen == [True, True, False]


def test_no_file_is_entered_twice_before_the_first_step(tmp_path, monkeypatch):
    entered: list[str] = []

    def follow(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code.co_name == "fit" and code.co_filename.endswith("training/fit.py"):
            raise FirstStepError
        if event != "call" or not code.co_filename.startswith(ROOT):
            return
        if holds_settings(frame) and file_of(frame) != file_of(frame.f_back):
            entered.append(file_of(frame))

    out = tmp_path / "run"
    words = f"--dataset digits --model-settings hidden=8 latent_dim=2 --out {out}"
    monkeypatch.setattr(sys, "argv", ["train.py", *words.split()])
    sys.setprofile(follow)
    try:
        with pytest.raises(FirstStepError):
            run_main(Config, train.run)
    finally:
        sys.setprofile(None)
    assert {"train.py", "training/run.py", "training/loop.py"} <= set(entered)
    assert collections.Counter(entered).most_common(1)[0][1] == 1, entered
