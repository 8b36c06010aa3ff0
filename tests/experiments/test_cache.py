"""The cache of compiled programs: on by default, changes nothing, never in the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.harness import compilation_cache

pytestmark = pytest.mark.slow

TRAIN = """
import collections, json, jax, numpy as np, optax, vaejax
from experiments.harness.compilation_cache import use_compilation_cache
from vaejax.data import PROTOCOLS, load

events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name]))
use_compilation_cache()
model = vaejax.MODELS["gaussian_mlp"](data_shape=(8, 8, 1), latent_dim=2, hidden=(8,))
state = vaejax.fit(
    vaejax.make_objective(
        model, vaejax.BOUNDS["iwae"](), vaejax.ESTIMATORS["dreg"](), num_samples=3
    ),
    optax.adam(1e-3),
    vaejax.Example(load("digits").images),
    epochs=1,
    batch_size=100,
    key=jax.random.key(0),
    observe=PROTOCOLS["dynamic"].sample,
)
params = [np.asarray(leaf).tobytes().hex() for leaf in jax.tree.leaves(state.params)]
counts = {k: events["/jax/compilation_cache/cache_" + k] for k in ("hits", "misses")}
print(json.dumps(counts | {"params": params}))
"""


def train(cache_home: Path) -> dict:
    """Train in a process of its own: parameters, hits and misses of the cache."""
    environment = {
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "XDG_CACHE_HOME": str(cache_home),
    }
    done = subprocess.run(
        [sys.executable, "-c", TRAIN],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_second_run_compiles_only_what_is_damaged_and_finds_the_same(
    tmp_path, capsys
):
    first = train(tmp_path)
    (damaged,) = (tmp_path / "vaejax" / "jax").glob("jit_run_steps-*-cache")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    second = train(tmp_path)
    exec(TRAIN, {})  # here, where the cache is off
    without = json.loads(capsys.readouterr().out)
    assert without["hits"] == without["misses"] == 0
    assert first["params"] == second["params"] == without["params"]
    assert second["hits"] == first["hits"] + first["misses"] - 1
    assert first["misses"] > 10


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(compilation_cache, "jax", Configuration())
    compilation_cache.use_compilation_cache()
    assert compilation_cache.jax.config.jax_compilation_cache_dir is None


class Configuration:
    """Stands for the jax module, whose settings would outlive the test."""

    def __init__(self) -> None:
        self.config = self
        self.jax_enable_compilation_cache = True
        self.jax_compilation_cache_dir: str | None = None

    def update(self, name: str, value: object) -> None:
        setattr(self, name, value)


def test_where_it_is_and_that_the_users_choice_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compilation_cache, "jax", Configuration())
    compilation_cache.use_compilation_cache()
    assert compilation_cache.jax.jax_compilation_cache_dir == str(
        tmp_path / "vaejax" / "jax"
    )
    compilation_cache.jax.jax_compilation_cache_dir = "elsewhere"
    compilation_cache.use_compilation_cache()
    assert compilation_cache.jax.jax_compilation_cache_dir == "elsewhere"
    monkeypatch.setattr(compilation_cache, "jax", Configuration())
    compilation_cache.jax.jax_enable_compilation_cache = False
    compilation_cache.use_compilation_cache()
    assert compilation_cache.jax.jax_compilation_cache_dir is None


@pytest.mark.parametrize(("limit", "left"), [(50, 5), (49, 2), (9, 0)])
def test_a_cache_that_is_too_large_loses_its_oldest_half(limit, left, tmp_path):
    for number in range(5):
        path = tmp_path / f"{number}-cache"
        path.write_bytes(bytes(10))
        os.utime(path, (number, number))
    compilation_cache._trim(tmp_path, limit)
    newest = {f"{number}-cache" for number in range(5 - left, 5)}
    assert {path.name for path in tmp_path.iterdir()} == newest
