"""Apply a trained model: encode, decode, sample, impute, score.

    python -m experiments.apply --checkpoint runs/vae --to encode mnist --out z.npz
    python -m experiments.apply --checkpoint runs/vae --to decode z.npz --out x.png

The data of the run's training are not needed. DATA are the path of a file or a folder,
as experiments.train takes them, or the name of a data set.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Large, Seed, Settings
from vaejax.core.ranges import CountOrZero, Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskSettings(Settings):
    """Task."""

    checkpoint: Annotated[Path, option("DIR")]
    """run of experiments.train"""
    to: Annotated[
        Literal[
            "encode",
            "decode",
            "sample",
            "reconstruct",
            "interpolate",
            "impute",
            "log_likelihood",
            "anomaly_score",
            "classify",
        ],
        option("TASK"),
    ]
    """encode, decode, sample, reconstruct, interpolate, impute, log_likelihood,
    anomaly_score or classify"""
    data: Annotated[str | None, option("DATA", positional=True)] = None
    """path of your data, or a data set; codes (.npz) to decode"""
    split: Annotated[str | None, option("NAME")] = None
    """split of the data (default: test of a data set, all of a path)"""
    model_seed: Annotated[CountOrZero, option("N")] = 0
    """model to use, of a run with --num-seeds"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class KindSettings(Settings):
    """Results of a task."""

    what: Annotated[Literal["mean", "sample", "params"], option()] = "mean"
    """of what is encoded or sampled: mean, draw or parameters"""
    count: Annotated[int, option("N")] = 64
    """number of samples"""
    label: Annotated[str | None, option("Y")] = None
    """class of the samples"""
    steps: Annotated[int, option("N"), Range(2, 1000)] = 8
    """points of a line from each example to the next"""
    score: Annotated[
        Literal[
            "negative_log_likelihood",
            "reconstruction_probability",
            "reconstruction_error",
        ],
        option("NAME"),
    ] = "negative_log_likelihood"
    """anomaly score: negative_log_likelihood, reconstruction_probability or
    reconstruction_error"""
    num_samples: Annotated[Large, option("S")] = 1000
    """importance samples of each example"""
    seed: Annotated[Seed, option("N")] = 0
    """seed of all random numbers"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(KindSettings, TaskSettings):
    """Apply a trained model to data; write what it returns."""

    out: Annotated[Path, option("FILE")]
    """results: .npz, .parquet, or .png for a grid of images"""
    overwrite: bool = False
    """replace the file --out"""


if __name__ == "__main__":
    read_command_line(Config)

from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.applying import outputs
from experiments.applying.inputs import label_of, read_codes, read_data
from experiments.harness.run_folder import write_errors_explained
from vaejax.core import VaejaxError, unknown
from vaejax.trained import TrainedModel, load

RESULTS = {"anomaly_score": "score", "classify": "p"}  # others: x


class Results(NamedTuple):
    """The arrays that were written, by name, and their file."""

    arrays: dict[str, np.ndarray]
    out: Path


def run(config: Config) -> Results:
    """Apply the model; write the results.

    Raises:
        VaejaxError: a file that is there, no such data, or what the model refuses.
    """
    out = config.out
    if out.suffix not in outputs.WRITERS:
        raise unknown("suffix of --out", out.suffix, outputs.WRITERS)
    if out.exists() and not config.overwrite:
        raise VaejaxError(f"{out} is there: use --overwrite, or another --out")
    if (config.data is None) != (config.to == "sample"):
        given = "needs no data" if config.data else "needs data"
        raise VaejaxError(
            f"--to {config.to} {given}: write --to "
            + (config.to if config.data else f"{config.to} DATA")
        )
    trained = load(config.checkpoint, seed=config.model_seed)
    print(f"{config.to} by {trained}")
    arrays = apply(trained, config)
    with write_errors_explained(out):
        outputs.write(out, arrays, trained.recipe.columns)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    print(f"{shapes}: {out}")
    return Results(arrays, out)


def apply(trained: TrainedModel, config: Config) -> dict[str, np.ndarray]:
    """Return the results of the task as arrays by name."""
    key, seed = jax.random.key(config.seed), config.seed
    if config.to == "sample":
        if config.what == "params":
            raise VaejaxError("--what is params: use mean or sample to sample")
        y = None if config.label is None else label_of(trained, config.label)
        return {"x": trained.sample(key, config.count, y, what=config.what)}
    assert config.data is not None
    if config.to == "decode":
        return {"x": trained.decode(*read_codes(Path(config.data)))}
    x, y = read_data(trained, config.data, config.split)
    found: Any
    match config.to:
        case "encode":
            found = trained.encode(x, y, what=config.what, key=key, seed=seed)
            labels = {} if y is None else {"y": y}
            return outputs.by_name("z", found) | labels
        case "reconstruct":
            found = trained.reconstruct(x, y, seed=seed)
        case "interpolate":
            found = trained.interpolate(x[:-1], x[1:], config.steps, seed=seed)
        case "log_likelihood":
            found = trained.log_likelihood(
                x, y, num_samples=config.num_samples, key=key, seed=seed
            )
            return {name: a for name, a in found._asdict().items() if np.ndim(a)}
        case "anomaly_score":
            found = trained.anomaly_score(
                *(x, y),
                score=config.score,
                num_samples=config.num_samples,
                key=key,
                seed=seed,
            )
        case "impute":
            found = trained.impute(
                x, y=y, num_samples=config.num_samples, key=key, seed=seed
            )
            arrays = found._asdict()
            return arrays if config.out.suffix == ".npz" else {"x": arrays["x"]}
        case "classify":
            found = trained.classify(x, seed=seed)
    return outputs.by_name(RESULTS.get(config.to, "x"), found)


if __name__ == "__main__":
    run_main(Config, run)
