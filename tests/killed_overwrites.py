"""Kills runs with --overwrite, at every file that they touch or at random.

    python -m tests.killed_overwrites OUT KILLS SEED

`OUT/toy` holds a finished run again before each life, which replaces it by a run of a
journal; it is killed at its first event, then at its second, until one comes to its
end. `OUT/train` is a training, killed KILLS times at random events. After each death
the folder must be listed as, and healed to, one run or the other, whole; which one is
printed.
"""

import dataclasses
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import jax

from experiments import runs
from experiments.harness import replacement, run_folder, run_settings
from experiments.harness.journal import Journal
from tests import toy_experiment
from tests.killed_runs import die_at, settings, train_with
from vaejax.training import checkpoints

HIDDEN = (replacement.MOVING, replacement.ASIDE, replacement.REPLACED)
OLD = {
    **{"metrics.jsonl": "old\n", "results.json": "{}\n", "results.csv": "a,b\n"},
    **{"checkpoints/9/state": "bytes", "figures/curves.png": "pixels"},
    **{"mine.txt": "a user's", "mine/too.txt": "a user's"},
}


def files(out: Path) -> dict[str, str]:
    """All files below a folder, by their paths, but for the lock."""
    paths = [path for path in out.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(out)): path.read_text("latin-1") for path in paths}


def write_old(out: Path, config: object) -> dict[str, str]:
    """Make a finished run of these settings; all of its files."""
    shutil.rmtree(out, ignore_errors=True)
    for name, text in OLD.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    run_folder.write_json(out / "config.json", run_settings.settings_of(config))
    return files(out)


def toy(out: Path) -> None:
    """Replace what is there by a run that has a journal, and figures."""
    config = toy_experiment.Config(size=2, out=out, overwrite=True)
    with run_folder.open_run(out, config, overwrite=True, resume=False):
        journal = Journal(out)
        for cell in range(2):
            (out / "figures").mkdir(exist_ok=True)
            (out / "figures" / "new.png").write_text("pixels")
            journal.write((cell,), value=cell)
        run_folder.write_json(out / "results.json", {"new": True})


def dies(life: Callable[[], None], out: Path, event: int) -> bool:
    """One life in a process of its own; whether it was killed."""
    child = os.fork()
    if child == 0:
        die_at(event, out)
        life()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, 9), status
    return status != 0


def kill_toys(out: Path) -> None:
    """Kill the toy at each event of its life."""
    event, died = 0, True
    while died:
        event += 1
        before = write_old(out, toy_experiment.Config(size=1))
        died = dies(lambda: toy(out), out, event)
        left = files(out)
        listed = runs.read_run(out)
        assert files(out) == left, event
        run_folder.heal(out)
        after = files(out)
        found = runs.read_run(out)
        assert found[1:-1] == listed[1:-1], event  # but for the paths of what is wrong
        is_old = '"size": 1' in after["config.json"]
        print("old" if is_old else "new")
        if is_old:
            assert after == before, (event, after)
        else:
            assert Journal(out).read((0,), "value") == 0, event
            assert (after["mine.txt"], after["mine/too.txt"]) == ("a user's",) * 2
            assert "results.csv" not in after, event
            assert "figures/curves.png" not in after, event
        assert not any(name.partition("/")[0] in HIDDEN for name in after), event
        config = toy_experiment.Config(size=2, out=out, resume=not is_old)
        with run_folder.open_run(
            out,
            config,
            overwrite=is_old,
            resume=not is_old,
            reopens=lambda before: True,
        ):
            pass
    assert not is_old


def train(out: Path, **flags: bool) -> None:
    """Train with another seed than the old run."""
    config = dataclasses.replace(settings(out), seed=1, **flags)
    with run_folder.open_run(
        out, config, overwrite=config.overwrite, resume=config.resume
    ):
        train_with(config)
    os._exit(0)


def kill_trainings(out: Path, kills: int, seed: int) -> None:
    """Kill a training at random events; the new run, once it is there, goes on."""
    jax.config.update("jax_compilation_cache_dir", str(out.parent / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    rng = random.Random(seed)
    for _ in range(kills):
        before = write_old(out, settings(out))
        overwrite = {"overwrite": True, "resume": False}
        event = rng.randint(1, 60)
        died = dies(lambda: train(out, **overwrite), out, event)  # noqa: B023
        run_folder.heal(out)
        is_old = files(out)["config.json"] == before["config.json"]
        print("old training" if is_old else "new training")
        if is_old:
            assert files(out) == before, event
        elif died:
            assert checkpoints.latest(out / "checkpoints") in range(2, 55), event
            assert not dies(lambda: train(out), out, -1)


def main(out: Path, kills: int, seed: int) -> None:
    """Kill the toys, then the trainings."""
    kill_toys(out / "toy")
    kill_trainings(out / "train", kills, seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
