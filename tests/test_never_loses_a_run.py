"""A run survives kills, full and vanishing disks, damage, and other runs, to the bit."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments import run_folder
from tests.killed_runs import settings, train
from vaejax.core import VaejaxError
from vaejax.training import checkpoints

ROOT = Path(__file__).parent.parent


def without_times(out: Path) -> list[dict]:
    rows = run_folder.read_rows(out)
    times = ("images_per_second", "compile_seconds")
    return [{k: v for k, v in row.items() if k not in times} for row in rows]


def final_state(out: Path) -> tuple[int | None, str]:
    """The last step, and the digest of all its arrays."""
    step = checkpoints.latest(out / "checkpoints")
    metadata = out / "checkpoints" / str(step) / "_CHECKPOINT_METADATA"
    return step, json.loads(metadata.read_text())["custom_metadata"]["sha256"][0]


def assert_same_run(one: Path, other: Path) -> None:
    assert without_times(one) == without_times(other)
    assert final_state(one) == final_state(other)
    names = [sorted(path.name for path in out.iterdir()) for out in (one, other)]
    assert names[0] == names[1] == ["checkpoints", "config.json", "metrics.jsonl"]
    steps = [sorted(p.name for p in (o / "checkpoints").iterdir()) for o in (one, other)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize(("devices", "kills"), [(1, 40), (4, 10)])
def test_a_run_killed_at_any_point_ends_as_one_that_was_not(devices, kills, tmp_path):
    flags = f" --xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.killed_runs", tmp_path, str(kills), "0"],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "orbax-checkpoint-tmp" in done.stderr  # killed inside the write of one
    runs = [path for path in tmp_path.iterdir() if path.name.isdigit()]
    assert runs
    for run in runs:
        assert_same_run(run, tmp_path / "whole")
