"""The parts that every contestant of the speed comparison shares.

A contestant is a script of its own, run by the interpreter of its own environment. It
reads one JSON command a line from stdin and answers each with one JSON line, so that a
driver measures several of them in turn while the others are blocked on stdin:

    {"versions": {...}}                        once, when the contestant is ready

    {"work": "train", "num_samples": K, "batch_size": B, "steps": n}
    {"work": "evaluate", "num_samples": S, "num_images": n}
    {"work": "quit"}

    {"seconds": ..., "images": ..., "value": ..., "peak_megabytes": ...}

Training goes on from where it stood, per K, from `initial_weights`; its value is the
mean negative bound over the steps. Evaluation is of the parameters trained last; its
value is the mean log-likelihood of the first n test images, in nats. The first command
of a kind compiles; `seconds` holds that too. The standard library and numpy only: this
file runs in every environment.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

NUM_LATENTS = 50
# The IWAE paper's one-layer network: mean and log standard deviation in one last layer.
ENCODER_SIZES = (784, 200, 200, 2 * NUM_LATENTS)
DECODER_SIZES = (NUM_LATENTS, 200, 200, 784)
LEARNING_RATE = 1e-3

Weights = list[tuple[np.ndarray, np.ndarray]]


class Contestant(Protocol):
    """The interface of a peer; both functions return after the work is done."""

    def train(self, num_samples: int, batch_size: int, steps: int) -> float:
        """Take `steps` training steps, each with `num_samples` samples an image."""

    def evaluate(self, num_samples: int, num_images: int) -> float:
        """Mean log-likelihood of the first images."""


def initial_weights(seed: int = 0) -> tuple[Weights, Weights]:
    """Draw encoder and decoder, (kernel [in, out], bias [out]) a layer; Glorot."""
    rng = np.random.default_rng(seed)

    def layer(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
        limit = np.sqrt(6 / (n_in + n_out))
        kernel = rng.uniform(-limit, limit, (n_in, n_out)).astype(np.float32)
        return kernel, np.zeros(n_out, np.float32)

    def network(sizes: tuple[int, ...]) -> Weights:
        return [layer(*pair) for pair in pairwise(sizes)]

    return network(ENCODER_SIZES), network(DECODER_SIZES)


class Images(NamedTuple):
    """The training data as stored, and the evaluated data, binarized once for all."""

    train: np.ndarray  # uint8 [N, 784]
    test: np.ndarray  # float32 [n, 784], 0 or 1


def save_images(folder: Path, train: np.ndarray, test: np.ndarray) -> None:
    """Write both splits, uint8 [N, 28, 28, 1], where `load_images` reads them."""
    np.save(folder / "train.npy", train)
    np.save(folder / "test.npy", test)


def load_images(folder: str, seed: int = 0) -> Images:
    """Read the data set."""
    train, test = (np.load(Path(folder, f"{name}.npy")) for name in ("train", "test"))
    uniform = np.random.default_rng(seed).random(test.shape, np.float32)
    binary = (uniform < test / np.float32(255)).astype(np.float32)
    return Images(train.reshape(len(train), -1), binary.reshape(len(test), -1))


def arguments(description: str) -> argparse.ArgumentParser:
    """Make the command line that all contestants have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True, help="folder of save_images")
    return parser


def serve(contestant: Contestant, packages: tuple[str, ...]) -> None:
    """Answer commands until told to quit; first, say the versions of `packages`."""
    # Only answers may reach the driver: whatever a library prints goes to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    versions = {package: version(package) for package in packages}
    print(json.dumps({"versions": versions}), file=answers)
    for line in sys.stdin:
        command = json.loads(line)
        work = command.pop("work")
        if work == "quit":
            return
        if work == "train":
            carry_out: Callable[..., float] = contestant.train
            images = command["steps"] * command["batch_size"]
        else:
            carry_out, images = contestant.evaluate, command["num_images"]
        start = time.perf_counter()
        value = carry_out(**command)
        answer = {
            "seconds": time.perf_counter() - start,
            "images": images,
            "value": value,
            "peak_megabytes": _peak_megabytes(),
        }
        print(json.dumps(answer), file=answers)


def _peak_megabytes() -> float | None:
    """Read the peak resident memory; None where the system does not tell.

    Not `ru_maxrss`: a child's begins at the resident memory of the driver.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024
