"""Prepare a data set, by download or from files you have.

    python -m experiments.prepare_data mnist --raw-dir ~/Downloads/mnist

TensorFlow is not needed. The set is prepared completely or not at all.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Prepare a data set, by download or from raw files that you have."""

    name: Annotated[str, option("NAME", names="datasets", positional=True)]
    """name of the data set"""
    raw_dir: Annotated[Path | None, option("DIR")] = None
    """raw files, compressed or not (default: download them)"""
    data_dir: Annotated[Path | None, option("DIR")] = None
    """folder of the prepared data (default: $TFDS_DATA_DIR)"""
    overwrite: bool = False
    """replace a data set that is already prepared"""


if __name__ == "__main__":
    read_command_line(Config)

import time
from typing import NamedTuple

from vaejax.core import UnknownNameError, unknown
from vaejax.data import DATASETS
from vaejax.data.prepare import AlreadyPreparedError, prepare
from vaejax.data.prepared import how_to_prepare
from vaejax.data.sources import SOURCES
from vaejax.data.types import default_data_dir


class Results(NamedTuple):
    """The path of the prepared set, and the time taken."""

    path: Path
    seconds: float


def run(config: Config) -> Results:
    """Prepare the data set that `config` names.

    Raises:
        UnknownNameError: no such data set.
        DataError: see `vaejax.data.prepare.prepare`.
    """
    if config.name in ("digits", "sprites"):
        raise UnknownNameError(
            f"{config.name} needs no files: use the data set without preparation"
        )
    data_dir = config.data_dir or default_data_dir()
    if config.name in DATASETS.keys() - SOURCES.keys():
        raise UnknownNameError(
            f"{config.name} is prepared by TFDS, "
            + how_to_prepare(config.name, data_dir)
        )
    if config.name not in SOURCES:
        raise unknown("data set", config.name, SOURCES)
    source, start = SOURCES[config.name], time.perf_counter()
    print(f"{source.name}: {config.raw_dir or source.base_url} -> {data_dir}")
    try:
        path = prepare(source, config.raw_dir, data_dir, config.overwrite)
    except AlreadyPreparedError as there:
        print(there)
        return Results(there.path, 0.0)
    results = Results(path, time.perf_counter() - start)
    print(f"prepared {path} in {results.seconds:.1f} s")
    return results


if __name__ == "__main__":
    run_main(Config, run)
