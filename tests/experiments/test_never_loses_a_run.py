"""A run survives kills, disks that fill or vanish, signals and other runs."""

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from experiments.harness import metric_rows, replacement, run_folder, run_settings
from experiments.training import loop
from tests.killed_runs import settings, train, train_with
from vaejax.core import VaejaxError
from vaejax.training import checkpoints

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def without_times(out: Path) -> list[dict]:
    rows = metric_rows.read_rows(out)
    times = ("images_per_second", "compile_seconds")
    return [{k: v for k, v in row.items() if k not in times} for row in rows]


def final_state(folder: Path) -> tuple[int | None, str]:
    """The last step, and the digest of all its arrays."""
    step = checkpoints.latest(folder)
    metadata = folder / str(step) / "_CHECKPOINT_METADATA"
    return step, json.loads(metadata.read_text())["custom_metadata"]["sha256"][0]


def assert_same_run(one: Path, other: Path, *folders: str) -> None:
    assert without_times(one) == without_times(other)
    names = [sorted(path.name for path in out.iterdir()) for out in (one, other)]
    files = ["checkpoints", *folders, "config.json", "metrics.jsonl"]
    assert names[0] == names[1] == sorted(files)
    for folder in ("checkpoints", *folders):
        assert final_state(one / folder) == final_state(other / folder)
    # A kill amid the removal of the third last leaves it, if nothing is to be saved.
    steps = [checkpoints.steps(out / "checkpoints")[-2:] for out in (one, other)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize(
    ("devices", "kills", "choosing"), [(1, 40, ""), (4, 10, ""), (1, 40, "choosing")]
)
def test_a_run_killed_at_any_point_ends_as_one_that_was_not(
    devices, kills, choosing, tmp_path
):
    flags = f" --xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.killed_runs", tmp_path, str(kills), "0"]
        + [choosing] * bool(choosing),
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
        assert_same_run(run, tmp_path / "whole", *["chosen"] * bool(choosing))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(out)
    return out


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("cannot mount a file system here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def once(monkeypatch, module, name: str, when: int, action: Callable[[], None]) -> None:
    """Let something happen just before the function is called for the n-th time."""
    function, calls = getattr(module, name), []

    def wrapped(*args):
        calls.append(args)
        if len(calls) == when:
            action()
        return function(*args)

    monkeypatch.setattr(module, name, wrapped)


# What is called when a fault comes: at the 5th checkpoint, or the 2nd line of metrics.
WRITES = {
    "checkpoint": (loop.checkpoints, "save", 5),
    "metrics": (metric_rows, "append_row", 2),
}
LAST_SAVED = {"checkpoint": 8, "metrics": 10}


def assert_nothing_lost(out: Path, write: str, whole: Path) -> None:
    """The last checkpoint is whole, and the run goes on from it as if unharmed."""
    assert checkpoints.latest(out / "checkpoints") == LAST_SAVED[write]
    train(out)
    assert_same_run(out, whole)


@pytest.mark.parametrize("write", WRITES)
def test_a_full_disk_costs_nothing_that_was_saved(
    write, small_disk, whole, monkeypatch
):
    out, ballast = small_disk / "run", small_disk / "ballast"

    def fill() -> None:
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(bytes(2**20))

    once(monkeypatch, *WRITES[write], fill)
    with pytest.raises(VaejaxError, match=r"cannot write .*No space left on.* whole"):
        train(out)
    ballast.unlink()
    assert_nothing_lost(out, write, whole)


def test_a_read_only_disk_is_refused_and_nothing_is_lost(
    small_disk, whole, monkeypatch
):
    out = small_disk / "run"
    interrupt = lambda: signal.raise_signal(signal.SIGINT)  # noqa: E731
    once(monkeypatch, loop.checkpoints, "save", 4, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(out)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(VaejaxError, match=r"cannot write .*Read-only.*another --out"):
        train(out)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert_nothing_lost(out, "checkpoint", whole)


@pytest.mark.parametrize("write", WRITES)
def test_a_file_that_may_not_grow_costs_nothing_that_was_saved(
    write, tmp_path, whole, monkeypatch
):
    """A limit on file sizes stands for a full disk where none can be mounted."""
    out = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    once(
        monkeypatch,
        *WRITES[write],
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard)),
    )
    try:
        with pytest.raises(VaejaxError, match=r"cannot write .*File too large"):
            train(out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_nothing_lost(out, write, whole)


@pytest.mark.parametrize("write", WRITES)
def test_a_folder_that_vanishes_is_named_and_not_made_anew(
    write, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    once(monkeypatch, *WRITES[write], lambda: shutil.rmtree(out))
    with pytest.raises(
        VaejaxError, match=r"cannot write .*No such file|was removed"
    ) as caught:
        train(out)
    assert str(out) in str(caught.value)
    assert not out.exists()


def test_a_folder_is_one_runs_at_a_time(tmp_path, whole):
    out = tmp_path / "run"
    train(out)
    with run_folder.open_run(out, settings(out), overwrite=False, resume=True):
        for flags in ({"resume": True}, {"overwrite": True}):
            flags = {"overwrite": False} | flags
            with (
                pytest.raises(VaejaxError, match=f"process {os.getpid()} on .*wait"),
                run_folder.open_run(out, settings(out), **flags),
            ):
                pass
    assert_same_run(out, whole)


def test_a_checkpoint_knows_the_settings_that_it_is_of(tmp_path, monkeypatch):
    out = tmp_path / "run"
    once(monkeypatch, *WRITES["metrics"], lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(out)
    found = json.loads((out / "config.json").read_text())
    (out / "config.json").unlink()
    with pytest.raises(VaejaxError, match="a run whose settings are lost"):
        train(out)
    # What another run's settings would find there.
    config = dataclasses.replace(settings(out), seed=7)
    run_folder.write_json(out / "config.json", run_settings.settings_of(config))
    with (
        pytest.raises(VaejaxError, match="seed was 0 and is 7"),
        run_folder.open_run(out, config, overwrite=False, resume=True),
    ):
        train_with(config)
    run_folder.write_json(out / "config.json", found)
    train(out)


def test_a_run_does_not_go_on_in_another_precision(tmp_path):
    flags = {"overwrite": False, "resume": True}
    with run_folder.open_run(tmp_path, settings(tmp_path), **flags):
        pass
    message = r"in float\d+, .* resume it under JAX_ENABLE_X64=\d"
    with (
        jax.enable_x64(not jax.config.jax_enable_x64),
        pytest.raises(VaejaxError, match=message),
        run_folder.open_run(tmp_path, settings(tmp_path), **flags),
    ):
        pass
    before = run_folder.read_json(tmp_path / "config.json")
    assert before.pop("jax_enable_x64") is jax.config.jax_enable_x64
    run_folder.write_json(tmp_path / "config.json", before)  # older ones do not say
    with (
        jax.enable_x64(False),
        run_folder.open_run(tmp_path, settings(tmp_path), **flags),
    ):
        pass


def test_what_is_cleared_last_is_whose_it_was(tmp_path, monkeypatch):
    out = tmp_path / "run"
    train(out)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: 1 / 0)  # as if killed there
    with pytest.raises(ZeroDivisionError):
        replacement.remove(out, run_folder.NAMES)
    assert (out / "config.json").exists()


def test_a_run_whose_folder_is_anothers_now_leaves_it_alone(tmp_path):
    out = tmp_path / "run"
    flags = {"overwrite": False, "resume": True}
    with run_folder.open_run(out, settings(out), **flags):
        shutil.rmtree(out)
        out.mkdir()
        (out / "lock").write_text("the other's")
        (out / "metrics.jsonl").write_text("")
        for write in (
            lambda: metric_rows.append_row(out, {}),
            lambda: run_folder.write_json(out / "results.json", {}),
        ):
            with pytest.raises(VaejaxError, match="was removed while this run"):
                write()
    assert (out / "lock").read_text() == "the other's"
    assert (out / "metrics.jsonl").read_text() == ""


def test_a_run_that_ended_goes_on_with_more_epochs_as_if_it_had_not(tmp_path, whole):
    out = tmp_path / "run"
    long = dataclasses.replace(settings(out), schedule="constant", select="last")
    for config in (dataclasses.replace(long, epochs=4), long):
        with run_folder.open_run(
            out,
            config,
            overwrite=False,
            resume=True,
            free=loop.more_epochs,
            reopens=lambda before: True,
        ):
            train_with(config)
            run_folder.write_json(out / "results.json", {})
    assert run_folder.read_json(out / "config.json")["epochs"] == 9
    (out / "results.json").unlink()
    assert_same_run(out, whole)


def test_what_watches_a_run_does_not_lose_it(tmp_path, whole):
    out = tmp_path / "run"

    def full(row, state):
        if row["epoch"] == 3:
            raise OSError(28, "No space left on device")

    with pytest.raises(VaejaxError, match=r"after step 18 .*No space.*--resume"):
        train(out, watchers=[full])
    assert checkpoints.latest(out / "checkpoints") == 18
    train(out)
    assert_same_run(out, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("write", "step"), [("checkpoint", 10), ("metrics", 12)])
def test_a_signal_ends_a_run_with_a_checkpoint_of_that_very_step(
    number, write, step, tmp_path, whole, monkeypatch
):
    out = tmp_path / "run"
    once(monkeypatch, *WRITES[write], lambda: signal.raise_signal(number))
    with pytest.raises(KeyboardInterrupt):
        train(out)
    assert checkpoints.latest(out / "checkpoints") == step
    train(out)
    assert_same_run(out, whole)


def test_a_second_signal_ends_a_run_at_once(tmp_path, whole, monkeypatch):
    out = tmp_path / "run"

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    once(monkeypatch, *WRITES["checkpoint"], twice)
    with pytest.raises(KeyboardInterrupt):
        train(out)
    assert_nothing_lost(out, "checkpoint", whole)
