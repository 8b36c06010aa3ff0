"""A run that is replaced stays until the new one has saved something."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import runs
from experiments.harness import metric_rows, replacement, run_folder
from experiments.harness.journal import Journal
from tests.killed_overwrites import files, write_old
from tests.toy_experiment import Config
from vaejax.core import VaejaxError

ROOT = Path(__file__).parents[2]
OLD, NEW = Config(size=1), Config(size=2)


def test_a_run_killed_while_it_replaces_another_leaves_one_of_them_whole(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.killed_overwrites", tmp_path, "3", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    left = set(done.stdout.splitlines())
    assert left == {"old", "new", "old training", "new training"}


def overwrite(
    out: Path, error: BaseException | None = None, save: bool = False
) -> None:
    with run_folder.open_run(out, NEW, overwrite=True, resume=False):
        metric_rows.write_rows(out, [])
        (out / "figures").mkdir()
        if save:
            Journal(out).write((1,), value=1)
        if error is not None:
            raise error


ERRORS = [VaejaxError("no"), OSError("no"), ZeroDivisionError(), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_what_fails_before_it_saved_anything_leaves_the_old_run(error, tmp_path):
    before = write_old(tmp_path / "run", OLD)
    with pytest.raises(type(error)):
        overwrite(tmp_path / "run", error)
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_what_fails_later_leaves_the_new_run(error, tmp_path):
    out = tmp_path / "run"
    write_old(out, OLD)
    with pytest.raises(type(error)):
        overwrite(out, error, save=True)
    assert runs.read_run(out).settings["size"] == 2
    assert Journal(out).read((1,), "value") == 1
    assert not (out / "results.json").exists()
    assert (out / "mine.txt").exists()


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_what_fails_in_a_new_folder_leaves_none(error, tmp_path):
    """A fault of the program leaves the folder, which holds the reason."""
    out = tmp_path / "a" / "b"
    with pytest.raises(type(error)):
        overwrite(out, error)
    if isinstance(error, ZeroDivisionError):
        assert runs.read_run(out).problems == [f"{out} failed: ZeroDivisionError"]
    else:
        assert not (tmp_path / "a").exists()


def test_a_symbolic_link_is_replaced_behind_it(tmp_path):
    write_old(tmp_path / "real", OLD)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    with pytest.raises(VaejaxError):
        overwrite(link, VaejaxError("no"))
    assert runs.read_run(link).settings["size"] == 1
    overwrite(link)
    assert link.is_symlink()
    assert runs.read_run(tmp_path / "real").settings["size"] == 2


def test_a_part_that_saves_something_replaces_the_whole(tmp_path):
    """A tour or a gallery consists of runs in folders of their own."""
    write_old(tmp_path, OLD)
    write_old(tmp_path / "part", OLD)
    for error in (VaejaxError("early"), None):
        with (
            contextlib.suppress(VaejaxError),
            run_folder.open_run(tmp_path, NEW, overwrite=True),
        ):
            overwrite(tmp_path / "part", error)
            raise VaejaxError("late")
        expected = 1 if error else 2
        for out in (tmp_path, tmp_path / "part"):
            assert runs.read_run(out).settings["size"] == expected


def test_what_lists_a_run_moves_nothing_and_knows_which_is_whole(tmp_path):
    before = write_old(tmp_path / "run", OLD)
    with run_folder.open_run(tmp_path / "run", NEW, overwrite=True):
        assert runs.read_run(tmp_path / "run").settings["size"] == 2
        left = files(tmp_path / "run")
    for name, text in left.items():  # as if it had been killed there
        (tmp_path / "killed" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "killed" / name).write_text(text)
    (found,) = runs.run(runs.Config(folders=(tmp_path / "killed",)))
    assert found.settings["size"] == 1
    assert files(tmp_path / "killed") == left
    run_folder.heal(tmp_path / "killed")
    assert files(tmp_path / "killed") == before


def test_folders_of_somebody_elses_are_left_alone_whatever_their_names(tmp_path):
    ours = (replacement.MOVING, replacement.ASIDE, replacement.REPLACED)
    for number, name in enumerate((".moving", ".set_aside", ".replaced", *ours)):
        for path in (f"{name}/thesis.txt", "logs/x", "figures/f", "metrics.jsonl"):
            file = tmp_path / str(number) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("mine")
    before = files(tmp_path)
    with pytest.raises(VaejaxError, match="no run under"):
        runs.run(runs.Config(folders=(tmp_path,)))
    for folder in tmp_path.iterdir():
        run_folder.heal(folder)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "side", [replacement.MOVING, replacement.ASIDE, replacement.REPLACED]
)
def test_a_run_is_not_replaced_where_somebody_elses_folder_is_in_the_way(
    side, tmp_path
):
    write_old(tmp_path, OLD)
    (tmp_path / side).mkdir()
    (tmp_path / side / "thesis.txt").write_text("mine")
    before = files(tmp_path)
    with pytest.raises(
        VaejaxError, match=f"{side} stands where a replaced run is set aside: move it"
    ):
        overwrite(tmp_path)
    assert files(tmp_path) == before


def test_what_cannot_be_moved_is_named_and_stays(tmp_path, monkeypatch):
    before = write_old(tmp_path, OLD)
    rename, moved = Path.rename, []

    def refuse_the_third(path, target):
        moved.append(path)
        if len(moved) == 3:
            raise OSError(30, "Read-only file system")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_the_third)
    with pytest.raises(VaejaxError, match=r"cannot write .*Read-only"):
        overwrite(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "save", "says"),
    [
        ({"overwrite": False, "resume": False}, False, "the same command starts again"),
        ({"overwrite": True, "resume": False}, False, "is as it was.* starts again"),
        ({"overwrite": False, "resume": True}, False, "the same command starts again"),
        ({"overwrite": False, "resume": False}, True, "with --resume continues"),
        ({"overwrite": False, "resume": True}, True, "with --resume continues"),
        ({"overwrite": True, "resume": False}, True, "--resume in the place of --ov"),
        ({"overwrite": True}, True, "with --overwrite starts anew"),
    ],
)
def test_an_interrupt_says_what_is_right_for_what_is_there(flags, save, says, tmp_path):
    out = tmp_path / "run"
    if flags["overwrite"]:
        write_old(out, OLD)

    def interrupt(save: bool, **flags: bool) -> None:
        with run_folder.open_run(out, OLD, **flags):
            if save:
                run_folder.saved(out)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=says):
        interrupt(save, **flags)
    if save and "resume" in flags:  # what was begun before is there from the start
        with pytest.raises(KeyboardInterrupt, match="with --resume continues"):
            interrupt(save=False, overwrite=False, resume=True)


def test_no_experiment_says_on_its_own_how_to_go_on():
    """A sweep does: the same command goes on with it."""
    found = {
        path.name
        for path in (ROOT / "experiments").rglob("*.py")
        if re.search(r"KeyboardInterrupt\(", path.read_text())
    }
    assert found == {"run_folder.py", "sweep.py", "resume.py"}  # resume: not process 0


@pytest.mark.parametrize("name", ["results.json", "metrics.jsonl", "checkpoints"])
@pytest.mark.parametrize("flag", [True, False])
def test_results_whose_settings_are_lost_are_to_be_moved_away(name, flag, tmp_path):
    """No flag replaces the results, and the message advises none."""
    (tmp_path / name).write_text("{}")
    with (
        pytest.raises(VaejaxError, match=f"holds {name} of .*lost: move it") as caught,
        run_folder.open_run(tmp_path, NEW, overwrite=flag, resume=not flag),
    ):
        pass
    assert "--overwrite" not in str(caught.value)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("out", ["", ".", "..", "../cwd", "link", "/"])
def test_no_run_is_written_into_the_working_directory(out, tmp_path, monkeypatch):
    """No name of that directory, or of one above it, is accepted."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    if out == "link":
        out = tmp_path / "link"
        out.symlink_to(tmp_path / "cwd")
    with (
        pytest.raises(VaejaxError, match="--out is empty, or the current folder"),
        run_folder.open_run(Path(out), NEW, overwrite=False),
    ):
        pass
    assert files(tmp_path) == {}


def test_nothing_hidden_is_left_and_what_is_a_users_stays(tmp_path):
    write_old(tmp_path, OLD)
    overwrite(tmp_path)
    assert not replacement.is_left(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [
        *("config.json", "figures", "metrics.jsonl", "mine", "mine.txt")
    ]
