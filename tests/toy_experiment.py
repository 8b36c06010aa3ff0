"""An experiment for the tests of sweeps: instant, and wrong in every way on request."""

import dataclasses
import os
import time
from pathlib import Path

from experiments.harness import run_folder
from vaejax.core import IncompatibleError, VaejaxError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    size: int = 1
    rate: float = 0.5
    what: str = "works"
    words: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    folder: Path | None = None
    flag: bool = False
    out: Path = Path("runs/toy")
    overwrite: bool = False
    resume: bool = False


def check(config: Config) -> None:
    if config.size < 0:
        raise VaejaxError(f"size is {config.size}: use at least 0")
    if config.what == "refused":
        raise IncompatibleError("this cannot be combined: use another")


def run(config: Config) -> None:
    with run_folder.open_run(
        config.out, config, overwrite=config.overwrite, resume=config.resume
    ):
        _run(config)


def _run(config: Config) -> None:
    attempts = config.out / "attempts"
    with attempts.open("a") as file:
        file.write("x")
    print("a toy works")
    if config.what == "fails":
        raise VaejaxError("the toy fails: use another")
    if config.what == "crashes":
        raise ZeroDivisionError
    if config.what == "waits":
        time.sleep(600)
    if config.what == "interrupted":
        raise KeyboardInterrupt
    if config.what == "always dies" or (
        config.what == "dies once" and attempts.read_text() == "x"
    ):
        os._exit(1)
    run_folder.write_json(
        config.out / "results.json",
        {
            "test": {"value": 2.0 * config.size, "same": 1, "unknown": None},
            "size": 7,
            "seeds": [1, 2],
            "good": True,
        },
    )
