"""No file in a stranger's run makes a command wait, or write outside the folder."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_checkpoint import saved_state

from experiments import runs
from experiments.harness import run_folder, run_lock
from experiments.harness.journal import Journal
from tests import toy_experiment
from vaejax.core import VaejaxError
from vaejax.training import checkpoints

FILES = [*run_folder.FILES, "config.json", "lock"]
KINDS = ("pipe", "device", "sparse")


def plant(path: Path, kind: str) -> None:
    """A file that keeps its reader waiting, or fills the memory."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 2**32)


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """End a test that waits for ever."""

    def end(*_: object) -> None:
        pytest.fail("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_a_command_that_waits_is_seen(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    signal.alarm(1)
    with pytest.raises(pytest.fail.Exception, match="it waits"):
        (tmp_path / "pipe").read_bytes()


def toy(out: Path, **more: object) -> toy_experiment.Config:
    return toy_experiment.Config(out=out, **more)


def crashed(out: Path) -> None:
    """A run that left its failure."""
    with pytest.raises(ZeroDivisionError):
        toy_experiment.run(toy(out, what="crashes"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_the_list_of_runs_ends_and_shows_the_others(name, kind, tmp_path):
    toy_experiment.run(toy(tmp_path / "good"))
    crashed(tmp_path / "bad")
    plant(tmp_path / "bad" / name, kind)
    found = {of.path.name: of for of in runs.run(runs.Config(folders=(tmp_path,)))}
    assert found["good"].status == "finished"
    assert found["bad"].status in ("damaged", "failed")
    told = " ".join(found["bad"].problems)
    assert (str(tmp_path / "bad" / name) in told) == (
        name in ("config.json", "results.json", "metrics.jsonl", "failure.txt")
    )


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["lock", "log.txt", *run_folder.NAMES])
def test_a_run_goes_on_or_is_replaced_or_refused_with_the_reason(
    name, kind, resume, tmp_path
):
    config = toy(tmp_path, what="crashes")
    crashed(tmp_path)
    plant(tmp_path / name, kind)
    told = ""
    try:
        with run_folder.open_run(tmp_path, config, overwrite=not resume, resume=resume):
            Journal(tmp_path).write(("a",), rows=[])
            run_folder.write_json(tmp_path / "results.json", {})
    except VaejaxError as error:
        told = str(error)
    if name == "results.json" and resume:
        name = "holds a finished run"
    assert not told or (name in told and "None" not in told)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_lock_that_is_none_is_named(kind, tmp_path):
    plant(tmp_path / "lock", kind)
    assert not run_lock.is_running(tmp_path)
    with pytest.raises(VaejaxError, match=r"\(lock is not a regular file\)"):
        toy_experiment.run(toy(tmp_path))


@pytest.mark.parametrize("name", ["lock", *run_folder.NAMES])
def test_nothing_is_written_through_a_link(name, tmp_path):
    (tmp_path / "mine").write_text("all of it")
    toy_experiment.run(toy(tmp_path / "run"))
    (tmp_path / "run" / name).unlink(missing_ok=True)
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    with contextlib.suppress(VaejaxError):
        toy_experiment.run(toy(tmp_path / "run", overwrite=True))
    assert (tmp_path / "mine").read_text() == "all of it"


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_read_if_all_its_files_can_be(kind, tmp_path):
    state = saved_state(tmp_path / "whole")
    names = [path.relative_to(tmp_path / "whole") for path in files(tmp_path / "whole")]
    assert len(names) > 3
    for name in names:
        shutil.copytree(tmp_path / "whole", tmp_path / "bad")
        plant(tmp_path / "bad" / name, kind)
        with (
            pytest.warns(UserWarning, match="not a regular file|has more than"),
            pytest.raises(checkpoints.CheckpointError, match="is whole"),
        ):
            checkpoints.restore(tmp_path / "bad", state)
        shutil.rmtree(tmp_path / "bad")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
