"""Kills a small training again and again, at random points, until it has finished.

    python tests/killed_runs.py OUT KILLS SEED [choosing]

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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import run_folder
from experiments.training.choosing import selection_of
from experiments.training.config import Config
from experiments.training.loop import train_to_end
from experiments.training.recorder import Watcher
from experiments.training.run import Data, Run, make_keys
from vaejax.core import Example, Objective, Params
from vaejax.data import find
from vaejax.sharding import training_mesh
from vaejax.trained import Recipe
from vaejax.training import (
    checkpoints,  # noqa: F401 (what a life would import)
    several_seeds,
)
from vaejax.training.averaging import averaged

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


# Averages, and the best epoch of two seeds, some epochs before patience ends the run.
CHOOSING = {"select": "validation", "patience": 2, "num_seeds": 2, "ema": 0.8}


def settings(out: Path, **choosing: Any) -> Config:
    """54 steps, saved 27 times."""
    steps = {"epochs": 9, "batch_size": 4, "checkpoint_steps": 2}
    return Config(**steps, resume=True, out=out, **choosing)


def train_with(config: Config, watchers: Sequence[Watcher] = ()) -> None:
    """Train to the end in a folder that is open already."""
    images = np.random.default_rng(0).integers(0, 256, (22, 2, 2, 1), dtype=np.uint8)
    # Elsewhere, so that the best epochs of the seeds are the first and the third.
    validation = Example(jnp.asarray(images / 510 - 1.3))
    data = Data(
        train=Example(jnp.asarray(images)),
        test=Example(jnp.asarray(images / 255.0)),
        test_labels=None,
        protocol="none",
        validation=validation if selection_of(config).uses_validation else None,
    )
    several, optimizer = objective(), optax.adam(1e-2)
    if config.num_seeds > 1:
        several = several_seeds(several, config.num_seeds)
    if config.ema is not None:
        optimizer = averaged(optimizer, config.ema)
    run = Run(
        config=config,
        dataset=find(config.dataset),
        recipe=Recipe(model=config.model, data_shape=(2, 2, 1), protocol="none"),
        model=SimpleNamespace(start=None),
        objective=several,
        one_seed=objective(),
        selection=selection_of(config),
        optimizer=optimizer,
        data=data,
        mesh=training_mesh(config.batch_size),
        keys=make_keys(config),
    )
    train_to_end(run, watchers=watchers)


def train(out: Path, watchers: Sequence[Watcher] = (), **choosing: Any) -> None:
    """Train to the end, from wherever the last life left it."""
    config = settings(out, **choosing)
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


def live(
    out: Path,
    *,
    event: int | None = None,
    seconds: float | None = None,
    **choosing: Any,
) -> bool:
    """One life of the run in `out`: whether it came to its end."""
    child = os.fork()
    if child == 0:
        if event is not None:
            die_at(event, out)
        train(out, **choosing)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        sys.exit(f"a life ended with status {status}")
    return status == 0


def main(out: Path, kills: int, seed: int, **choosing: Any) -> None:
    """Kill runs so many times in all, and let the last one finish."""
    # Compiled once, for all lives.
    jax.config.update("jax_compilation_cache_dir", str(out / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    start = time.monotonic()
    assert live(out / "whole", **choosing)
    span = time.monotonic() - start
    rng = random.Random(seed)
    run = 0
    while kills > 0:
        if rng.random() < 0.3:
            finished = live(
                out / str(run), seconds=rng.uniform(0, span / 3), **choosing
            )
        else:
            finished = live(out / str(run), event=rng.randint(1, 250), **choosing)
        kills -= not finished
        run += finished
    assert live(out / str(run), **choosing)


if __name__ == "__main__":
    own = CHOOSING if sys.argv[4:] == ["choosing"] else {}
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), **own)
