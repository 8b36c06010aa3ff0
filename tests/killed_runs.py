"""Kills a small training again and again, at random points, until it has finished.

    python tests/killed_runs.py OUT KILLS SEED

`OUT/whole` is never killed. `OUT/0`, `OUT/1`, ... are, KILLS times in all, and resumed
each time: as they touch a file, which stderr then names, or after some time. Every life
is a process forked from one that has imported everything, but computed nothing yet.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import run_folder
from experiments.training.config import Config
from experiments.training.loop import train_to_end
from experiments.training.recorder import Watcher
from experiments.training.run import Data, Run, make_keys
from vaejax.core import Example, Objective, Params
from vaejax.data import find
from vaejax.sharding import training_mesh
from vaejax.training import checkpoints  # noqa: F401 (what a life would import)

FILE_EVENTS = ("open", "os.", "shutil.")


def objective() -> Objective:
    """Something of every kind: noise, a state, parameters, metrics."""

    def loss(params, state, key, batch):
        noise = jax.random.normal(key, params.decoder.shape)
        error = batch.example.x.mean(0).reshape(-1) + noise - params.decoder
        value = jnp.square(error).mean()
        return value, (0.9 * state + value, {"bound": -value, "noise": noise.mean()})

    def init(key):
        return Params(encoder=(), decoder=jnp.zeros(4), prior=()), jnp.zeros(())

    return Objective(init=init, loss=loss)


def settings(out: Path) -> Config:
    """54 steps, saved 27 times."""
    return Config(epochs=9, batch_size=4, checkpoint_steps=2, resume=True, out=out)


def train_with(config: Config, watchers: Sequence[Watcher] = ()) -> None:
    """Train to the end in a folder that is open already."""
    images = np.random.default_rng(0).integers(0, 256, (22, 2, 2, 1), dtype=np.uint8)
    data = Data(
        Example(jnp.asarray(images)), Example(jnp.asarray(images / 255.0)), None, "none"
    )
    run = Run(
        config=config,
        dataset=find(config.dataset),
        model=SimpleNamespace(start=None),
        objective=objective(),
        optimizer=optax.adam(1e-2),
        data=data,
        mesh=training_mesh(config.batch_size),
        keys=make_keys(config),
    )
    train_to_end(run, watchers=watchers)


def train(out: Path, watchers: Sequence[Watcher] = ()) -> None:
    """Train to the end, from wherever the last life left it."""
    config = settings(out)
    with run_folder.open_run(out, config, overwrite=False, resume=True):
        train_with(config, watchers)


def die_at(event_number: int, out: Path) -> None:
    """Kill this process as it touches a file of the run for the n-th time."""
    seen = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event.startswith(FILE_EVENTS) and str(out) in str(arguments[:1]):
            seen += 1
            if seen == event_number:
                os.write(2, f"{event} {arguments[0]}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def live(out: Path, *, event: int | None = None, seconds: float | None = None) -> bool:
    """One life of the run in `out`: whether it came to its end."""
    child = os.fork()
    if child == 0:
        if event is not None:
            die_at(event, out)
        train(out)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        sys.exit(f"a life ended with status {status}")
    return status == 0


def main(out: Path, kills: int, seed: int) -> None:
    """Kill runs so many times in all, and let the last one finish."""
    # Compiled once, for all lives.
    jax.config.update("jax_compilation_cache_dir", str(out / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    start = time.monotonic()
    assert live(out / "whole")
    span = time.monotonic() - start
    rng = random.Random(seed)
    run = 0
    while kills > 0:
        if rng.random() < 0.3:
            finished = live(out / str(run), seconds=rng.uniform(0, span / 3))
        else:
            finished = live(out / str(run), event=rng.randint(1, 250))
        kills -= not finished
        run += finished
    assert live(out / str(run))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
