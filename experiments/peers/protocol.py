"""What every contestant of the speed comparison shares: network, data, line protocol.

A contestant is a script of its own, run by the interpreter of its own environment. It
reads one JSON command a line from stdin and answers each with one JSON line, so that a
driver measures several of them in turn while the others are blocked on stdin:

    {"versions": {...}}                        once, when the contestant is ready

    {"work": "train", "num_samples": K, "batch_size": B, "steps": n}
    {"work": "evaluate", "num_samples": S, "num_images": n}
    {"work": "quit"}

    {"seconds": ..., "images": ..., "value": ..., "warmup_seconds": ...,
     "peak_megabytes": ...}

Training goes on from where it stood, per K, from `initial_weights`; its value is the
mean negative bound over the steps. Evaluation is of the parameters trained last; its
value is the mean log-likelihood of the first n images, in nats. The standard library
and numpy only: this file runs in every environment.
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
from typing import Protocol

import numpy as np

NUM_LATENTS = 50
# The IWAE paper's one-layer network: mean and log standard deviation in one last layer.
ENCODER_SIZES = (784, 200, 200, 2 * NUM_LATENTS)
DECODER_SIZES = (NUM_LATENTS, 200, 200, 784)
LEARNING_RATE = 1e-3
MAX_TEST_IMAGES = 10_000

Weights = list[tuple[np.ndarray, np.ndarray]]


class Contestant(Protocol):
    """What a peer implements; both return the value once the work is really done."""

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


def evaluation_images(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Binarize the evaluation images once, the same for all: [n, 784] float32."""
    images = images[:MAX_TEST_IMAGES]
    uniform = np.random.default_rng(seed).random(images.shape, np.float32)
    return (uniform < images / np.float32(255)).astype(np.float32)


def arguments(description: str) -> argparse.ArgumentParser:
    """Make the command line that all contestants have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data", required=True, help="uint8 images [N, 28, 28, 1] .npy"
    )
    return parser


def load_images(path: str) -> np.ndarray:
    """Read the data set as uint8 [N, 784]."""
    images = np.load(path)
    return images.reshape(len(images), -1)


def serve(contestant: Contestant, packages: tuple[str, ...]) -> None:
    """Answer commands until told to quit; first, say the versions of `packages`.

    A command seen for the first time is carried out once before it is timed, so that no
    compilation is in `seconds`; what that first time took is `warmup_seconds`.
    """
    # Only answers may reach the driver: whatever a library prints goes to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    versions = {package: version(package) for package in packages}
    print(json.dumps({"versions": versions}), file=answers)
    warmup_seconds: dict[str, float] = {}
    for line in sys.stdin:
        command = json.loads(line)
        work = command.pop("work")
        if work == "quit":
            return
        if work == "train":
            carry_out, images = (
                contestant.train,
                command["steps"] * command["batch_size"],
            )
        else:
            carry_out, images = contestant.evaluate, command["num_images"]
        if line not in warmup_seconds:
            warmup_seconds[line], _ = _timed(carry_out, command)
        seconds, value = _timed(carry_out, command)
        answer = {
            "seconds": seconds,
            "images": images,
            "value": value,
            "warmup_seconds": warmup_seconds[line],
            "peak_megabytes": _peak_megabytes(),
        }
        print(json.dumps(answer), file=answers)


def _timed(
    carry_out: Callable[..., float], command: dict[str, int]
) -> tuple[float, float]:
    start = time.perf_counter()
    value = carry_out(**command)
    return time.perf_counter() - start, value


def _peak_megabytes() -> float | None:
    """Read the peak resident memory; None where the system does not tell.

    Not `ru_maxrss`: a child's begins at the resident memory of the driver.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024
