"""Compare the speed and memory of vaejax with alternatives.

    python -m experiments.speed --peers torch=PYTHON numpyro=PYTHON --out runs/speed

Absolute figures move by a factor of two between machines and hours, so every claim is
a ratio within one run: contestants take turns at pieces of work of a second or two, a
ratio is taken within each round, and its median over the rounds is reported with the
smallest and the largest. Fresh processes give time to the first step and peak memory.
The work is that of the IWAE paper's one-layer network (arXiv:1509.00519) in float32.

    python -m experiments.speed --device-check --rounds 3 --seconds 1

compares float32 with matrix products of tensorfloat32 and bfloat16, and one model with
eight in one program, whose images per second are those of each model.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Large, Seconds, Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkSettings(Settings):
    """Measurement."""

    peers: Annotated[tuple[str, ...], option("NAME=PYTHON..")] = ()
    """torch, torch_compile, numpyro, pythae or jax_random, each with its Python"""
    num_samples: Annotated[tuple[int, ...], option("K..")] = (1, 5, 50)
    """importance samples per example in training"""
    eval_num_samples: Annotated[Large, option("S")] = 5000
    """importance samples per example in evaluation"""
    batch_size: Annotated[int, option("N")] = 100
    """examples per training step"""
    rounds: Annotated[int, option("N")] = 5
    """rounds to take medians over"""
    seconds: Annotated[Seconds, option("T")] = 1.5
    """seconds per measurement"""
    peer_seconds: Annotated[Seconds, option("T")] = 600.0
    """longest wait for an answer; a slower contestant is left out"""
    device_check: bool = False
    """compare number formats, and 8 seeds in one program"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """Data."""

    dataset: Annotated[str | None, option("NAME")] = None
    """data set, such as mnist (default: random images)"""
    data_dir: Annotated[Path | None, option("DIR")] = None
    """folder of the prepared data (default: $TFDS_DATA_DIR)"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetSettings(Settings):
    """Training to a target."""

    target_log_likelihood: Annotated[float | None, option("X")] = None
    """test log-likelihood in nats to train to, on --dataset (default: none)"""
    target_num_samples: Annotated[int, option("K")] = 5
    """importance samples per example in the training to that target"""
    target_seconds: Annotated[Seconds, option("T")] = 600.0
    """longest training towards that target, in seconds"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TargetSettings, DataSettings, WorkSettings):
    """Measure the speed and memory of vaejax and of its alternatives."""

    out: Annotated[Path, option("DIR")] = Path("runs/speed")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""
    resume: bool = False
    """measure only what is not measured in --out, and omit peers not in --peers"""


if __name__ == "__main__":
    read_command_line(Config)

import contextlib
import tempfile
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from experiments.harness.machine import describe_machine
from experiments.harness.measured_run import measured_run
from experiments.performance import speed_report
from experiments.performance.peers.contestants import parse_peers
from experiments.performance.peers.protocol import save_images
from experiments.performance.speed_field import Field, Work
from vaejax.core import VaejaxError
from vaejax.data import find, load

DEVICE_CHECK = ("vaejax", "tensorfloat32", "bfloat16", "8_seeds")


class Results(NamedTuple):
    """The contents of results.json, and its folder."""

    summary: dict[str, Any]
    out: Path


def train_work(num_samples: int, batch_size: int) -> Work:
    """Training steps with K samples."""
    return Work(
        name=f"train K={num_samples}",
        command={
            "work": "train",
            "num_samples": num_samples,
            "batch_size": batch_size,
        },
        length="steps",
        short_length=50,
        max_length=1_000_000,
    )


def evaluate_work(num_samples: int, num_images: int) -> Work:
    """The log-likelihood of some of `num_images` test images with S samples."""
    return Work(
        name=f"evaluate S={num_samples}",
        command={"work": "evaluate", "num_samples": num_samples},
        length="num_images",
        short_length=min(10, num_images),
        max_length=num_images,
    )


def run(config: Config) -> Results:
    """Measure every contestant that runs; report the others as not run.

    Every answer is written at once.

    Raises:
        VaejaxError: a setting that cannot be, before anything is measured.
    """
    _check(config)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        own = DEVICE_CHECK if config.device_check else ("vaejax", "loop")
        commands = parse_peers(config.peers, Path(scratch), own)
        journal = stack.enter_context(
            measured_run(config, free=lambda name, before, now: name.startswith("peer"))
        )
        train, test = _images(config)
        save_images(Path(scratch), train, test)
        print(f"{', '.join(commands)}, taking turns -> {config.out}")
        # Evaluation comes last: it uses the parameters trained last.
        works = [train_work(k, config.batch_size) for k in config.num_samples]
        works.append(evaluate_work(config.eval_num_samples, len(test)))
        field = Field(
            commands,
            config.out / "logs",
            Path(scratch),
            journal,
            limit=config.peer_seconds,
        )
        with closing(field):
            first_values, rounds = field.take_turns(
                works, config.rounds, config.seconds
            )
        fresh = field.start_anew([] if config.device_check else works)
        target = journal.read(("target",), "race")
        if config.target_log_likelihood is not None and target is None:
            work = train_work(config.target_num_samples, config.batch_size)
            with closing(field):
                target = field.race(
                    work.of_length(max(1, len(train) // config.batch_size // 4)),
                    evaluate_work(100, len(test)).of_length(min(1000, len(test))),
                    config.target_log_likelihood,
                    config.target_seconds,
                )
            journal.write(("target",), race=target)
        summary = {
            "summary": speed_report.summarize(works, rounds, fresh, first_values),
            "target": target,
            "not_run": field.not_run,
            "machine": describe_machine(),
            "versions": field.versions,
            "rounds": rounds,
        }
        speed_report.write(config.out, summary)
        speed_report.show(summary)
        print(f"everything is in {config.out}")
    return Results(summary, config.out)


def _check(config: Config) -> None:
    if not config.num_samples:
        raise VaejaxError(
            "--num-samples is empty: name at least one K, as in --num-samples 1 5 50"
        )
    if config.target_log_likelihood is not None and config.dataset is None:
        raise VaejaxError(
            "--target-log-likelihood needs real images: add --dataset mnist, or "
            "leave --target-log-likelihood out"
        )


def _images(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Training and test images, uint8 [N, 28, 28, 1]."""
    if config.dataset is None:
        return _blobs(60_000, seed=0), _blobs(10_000, seed=1)
    info = find(config.dataset)
    if info.shape != (28, 28, 1) or "dynamic" not in info.protocols:
        raise VaejaxError(
            f"the alternatives binarize grey images of 28 x 28, and {config.dataset} "
            "has none: use --dataset mnist"
        )
    train, test = (
        load(config.dataset, split, protocol="dynamic", data_dir=config.data_dir)
        for split in ("train", "test")
    )
    if config.batch_size > len(train.images):
        raise VaejaxError(
            f"batch_size is {config.batch_size}, and the data set has fewer training "
            "images: use a smaller batch_size"
        )
    return train.images, np.asarray(test.observations(), np.uint8)


def _blobs(count: int, seed: int) -> np.ndarray:
    """Smooth random blobs on black: speed does not depend on the images."""
    rng = np.random.default_rng(seed)
    loc = rng.uniform(6, 22, (2, count, 3, 1))
    profile = np.exp(-(((np.arange(28) - loc) / 3) ** 2)).astype(np.float32)
    images = np.einsum("nbh,nbw->nhw", *profile).clip(0, 1)
    return (255 * images).astype(np.uint8)[..., None]


if __name__ == "__main__":
    run_main(Config, run)
