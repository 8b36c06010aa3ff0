"""Prepare a data set for `vaejax.data.load`, by download or from files you have.

    python -m experiments.prepare_data mnist --raw-dir ~/Downloads/mnist

No TensorFlow. Prepared completely or not at all.
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from experiments.harness.cli import run_main
from experiments.harness.settings import Settings
from vaejax.core import UnknownNameError
from vaejax.data import DATASETS
from vaejax.data.prepare import prepare
from vaejax.data.prepared import how_to_prepare
from vaejax.data.sources import SOURCES
from vaejax.data.types import default_data_dir


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Prepare a data set, by download or from raw files that you have."""

    name: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(metavar="NAME", help=f"One of {', '.join(SOURCES)}."),
    ]
    raw_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the raw files, compressed or not; without it they are downloaded."""
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = dataclasses.field(
        default_factory=default_data_dir
    )
    """Folder of prepared data."""
    overwrite: bool = False
    """Replace what is already prepared."""


class Results(NamedTuple):
    """Where the prepared set is."""

    path: Path
    seconds: float


def run(config: Config) -> Results:
    """Prepare what `config` names.

    Raises:
        UnknownNameError: no such data set.
        DataError: see `vaejax.data.prepare.prepare`.
    """
    if config.name in ("digits", "sprites"):
        raise UnknownNameError(f"{config.name} needs no files: nothing to prepare")
    if config.name in DATASETS.keys() - SOURCES.keys():
        raise UnknownNameError(
            f"{config.name} is prepared by TFDS, "
            + how_to_prepare(config.name, config.data_dir)
        )
    if config.name not in SOURCES:
        raise UnknownNameError(
            f"unknown data set {config.name!r}; known: {', '.join(SOURCES)}"
        )
    source, start = SOURCES[config.name], time.perf_counter()
    print(f"{source.name}: {config.raw_dir or source.base_url} -> {config.data_dir}")
    path = prepare(source, config.raw_dir, config.data_dir, config.overwrite)
    results = Results(path, time.perf_counter() - start)
    print(f"prepared {path} in {results.seconds:.1f} s")
    return results


if __name__ == "__main__":
    run_main(Config, run)
