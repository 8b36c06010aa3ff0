"""Sweeps: which trials, what becomes of each, and the table; in place and on Ray."""

import csv
import dataclasses
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import tiny

from experiments import sweep, train
from experiments.sweeps import figure
from experiments.sweeps.choice import best_by_validation
from experiments.sweeps.grid import LONGEST_NAME, make_trials
from tests import toy_experiment
from vaejax.core import IncompatibleError, VaejaxError
from vaejax.plotting import log_likelihood_bars

ROOT = Path(__file__).parents[2]
TOY = "tests.toy_experiment"


def toy_sweep(out: Path, *grid: str, **more: Any) -> sweep.Config:
    return sweep.Config(experiment=TOY, grid=grid, out=out, **more)


def varied(*grid: str) -> list[dict[str, Any]]:
    return [trial.varied for trial in make_trials(TOY, grid, (), Path("out"))]


def test_the_trials_are_the_product_of_the_grid_with_the_last_name_fastest():
    trials = make_trials(TOY, ["size=5,1", "flag=False,True"], ["rate=2"], Path("out"))
    assert [(t.varied["size"], t.varied["flag"]) for t in trials] == [
        (5, False),
        (5, True),
        (1, False),
        (1, True),
    ]
    assert trials[1].config == toy_experiment.Config(
        size=5, flag=True, rate=2.0, resume=True, out=Path("out/size=5,flag=True")
    )


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("size=2:5", [2, 3, 4]),
        ("size=9,0:2,-3", [9, 0, 1, -3]),
        ("rate=1e-3,2", [0.001, 2.0]),
        ("what=a:b,2:3", ["a:b", "2:3"]),  # words, not a range of integers
        ("folder=None,a/b", [None, Path("a/b")]),
        (
            "words=latent_dim=2 hidden=8,8 | latent_dim=3 |",
            [("latent_dim=2", "hidden=8,8"), ("latent_dim=3",), ()],
        ),
        ("sizes=1 8|64", [(1, 8), (64,)]),
    ],
)
def test_values_are_read_as_the_setting_is_typed(setting, values):
    name = setting.partition("=")[0]
    assert [trial[name] for trial in varied(setting)] == values


@given(st.lists(st.text(st.characters(exclude_characters=","), min_size=1), min_size=1))
def test_every_trial_has_a_folder_of_its_own_directly_in_out(words):
    words = [word for word in dict.fromkeys(words) if not word.startswith("-")]
    if not words:
        return
    trials = make_trials(TOY, [f"what={','.join(words)}"], (), Path("out"))
    names = {trial.name for trial in trials}
    assert len(names) == len(words)
    for trial in trials:
        assert trial.config.out.parent == Path("out")
        assert re.fullmatch(r"[\w.,=+-]+", trial.name, re.ASCII)
        assert len(trial.name) <= LONGEST_NAME + 9


@pytest.mark.parametrize(
    ("grid", "more", "message"),
    [
        ("", {}, "grid is empty.*--grid seed=0:3"),
        ("nope=1", {}, r"unknown setting .* 'nope': use one of .*, size"),
        ("size", {}, "'size' is not a setting: write name=value"),
        ("size=1 size=2", {}, "size is given twice"),
        ("size=1,x", {}, "size=x cannot be read: .* type int"),
        ("size=1.5", {}, "size=1.5 cannot be read: .* type int"),
        ("size=", {}, "size= cannot be read"),
        ("size=3:3", {}, "size=3:3 in the grid is empty or repeats"),
        ("size=1,1", {}, "repeats a value"),
        ("flag=maybe", {}, "flag=maybe cannot be read: .* type bool"),
        ("sizes=1|x", {}, r"sizes=x cannot be read: .* tuple\[int, \.\.\.\]"),
        ("out=a,b", {}, "a sweep sets out of its trials itself"),
        ("size=1", {"settings": ("resume=True",)}, "sets resume .* itself"),
        ("size=1", {"settings": ("size=1",)}, "in --grid and in --settings"),
        ("size=1,-1", {}, "size=-1: size is -1: use at least 0"),
        ("size=1", {"experiment": "nope"}, "'nope'.*estimator_variance, .*train"),
        ("size=1", {"experiment": "no.such"}, "unknown experiment 'no.such'"),
        (
            "size=1",
            {"experiment": "experiments.harness.cli"},
            "unknown experiment 'experiments.harness.cli'.*no run",
        ),
        ("size=1", {"experiment": "."}, "unknown experiment '.'.*use one of"),
        ("size=1", {"experiment": "a..b"}, "unknown experiment 'a..b'.*use one of"),
        (f"size=1,{'9' * 5_000}", {}, r"size=9{10,60}\.\.\. cannot be read: write"),
        (
            f"what={'x' * 5_000},{'x' * 5_000}",
            {},
            r"what=x+\.\.\. in the grid is empty",
        ),
        ("x" * 5_000, {}, r"'x+\.\.\. is not a setting"),
        (f"{'x' * 5_000}=1", {}, r"unknown setting of .* 'x+\.\.\.: use one of"),
        ("size=0:300000", {}, "more than 10,000 combinations: name fewer values"),
        (
            "size=1",
            {"max_retries": -1},
            "--max-retries is -1: use an integer",
        ),
        ("size=1", {"ray": "local"}, r"ray is not installed: .*'\.\[cluster\]'"),
    ],
)
def test_a_mistake_is_one_message_before_anything_is_written(
    grid, more, message, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    config = toy_sweep(tmp_path / "sweep", *grid.split())
    with pytest.raises(VaejaxError, match=message) as told:
        sweep.run(dataclasses.replace(config, **more))
    assert len(str(told.value)) < 1_000
    assert not (tmp_path / "sweep").exists()


def test_trials_that_differ_in_their_seed_alone_are_checked_once(tmp_path, monkeypatch):
    """Ten thousand seeds are checked in an instant; other settings one by one."""
    checked = []
    monkeypatch.setattr(train, "check", checked.append)
    trials = make_trials("train", ["epochs=1,2", "seed=0:4999"], [], tmp_path)
    assert sweep._check_trials("train", trials) == {}
    assert [config.epochs for config in checked] == [1, 2]
    trials = make_trials("train", ["epochs=1:6"], [], tmp_path)
    sweep._check_trials("train", trials)
    assert len(checked) == 7


def test_a_sweep_says_what_it_does_before_it_does_it(tmp_path, monkeypatch, capsys):
    said = []
    monkeypatch.setattr(
        toy_experiment, "check", lambda config: said.append(capsys.readouterr().out)
    )
    sweep.run(toy_sweep(tmp_path, "size=1,2"))
    assert said[0] == f"checking the settings of 2 trials of {TOY}\n"


def test_a_trial_that_fails_is_a_row_and_stops_no_other(tmp_path, capsys):
    config = toy_sweep(tmp_path, "what=fails,crashes,refused,works", "size=3,4")
    rows = sweep.run(config).rows
    assert [row["status"] for row in rows[::2]] == [
        "failed",
        "failed",
        "refused",
        "finished",
    ]
    messages = [row["message"] for row in rows[::2]]
    assert messages == [
        "the toy fails: use another",
        "ZeroDivisionError",
        "this cannot be combined: use another",
        None,
    ]
    crashed = tmp_path / "what=crashes,size=3"
    assert "Traceback" in (crashed / "log.txt").read_text()
    assert (crashed / "failure.txt").read_text() == "ZeroDivisionError\n"
    assert not (tmp_path / "what=refused,size=3").exists()
    shown = capsys.readouterr().out
    assert "2 refused: this cannot be combined" in shown
    assert "what=fails,size=4 failed: the toy fails" in shown
    assert "a toy works" not in shown
    with pytest.raises(VaejaxError, match="4 of 8 trials failed: what=fails,size=3, "):
        sweep.main(config)


def test_the_table_holds_the_settings_and_every_number_that_a_trial_found(tmp_path):
    rows = sweep.run(toy_sweep(tmp_path, "what=works,fails", "size=3,4")).rows
    with (tmp_path / "results.csv").open() as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == [
        *("trial", "what", "size", "status", "message", "test.value", "test.same")
    ]
    assert [row["test.value"] for row in written] == ["6.0", "8.0", "", ""]
    assert [row["size"] for row in written] == ["3", "4", "3", "4"]  # the setting
    assert json.loads((tmp_path / "results.json").read_text())["trials"] == rows


def test_a_setting_of_several_words_is_one_cell(tmp_path):
    sweep.run(toy_sweep(tmp_path, "sizes=1 8|64"))
    with (tmp_path / "results.csv").open() as file:
        assert [row["sizes"] for row in csv.DictReader(file)] == ["1 8", "64"]


def test_the_same_command_keeps_what_is_finished_and_goes_on_with_the_rest(tmp_path):
    def attempts(name: str) -> int:
        return len((tmp_path / name / "attempts").read_text())

    first = toy_sweep(tmp_path, "what=works,interrupted,later")
    with pytest.raises(KeyboardInterrupt, match="the same command continues"):
        sweep.run(first)
    statuses = [row["status"] for row in read_rows(tmp_path)]
    assert statuses == ["finished", "unfinished", "unfinished"]
    rows = sweep.run(toy_sweep(tmp_path, "what=works,later,fails")).rows
    assert [row["status"] for row in rows] == ["finished", "finished", "failed"]
    sweep.run(toy_sweep(tmp_path, "what=works,later,fails"))
    assert [attempts(f"what={what}") for what in ("works", "later", "fails")] == [
        *(1, 1, 2)
    ]


def read_rows(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "results.json").read_text())["trials"]


def test_trials_with_other_settings_are_not_mixed_in(tmp_path):
    sweep.run(toy_sweep(tmp_path, "size=1,2"))
    with pytest.raises(VaejaxError, match=r"size=1 holds .*rate was 0.5 and is 2.0"):
        sweep.run(toy_sweep(tmp_path, "size=1,2", settings=("rate=2",)))


def test_a_sweep_is_of_one_experiment_and_leaves_its_folder_if_it_is_refused(tmp_path):
    sweep.run(toy_sweep(tmp_path / "sweep", "size=1"))
    before = read_rows(tmp_path / "sweep")
    other = sweep.Config(experiment="cost", grid=("rounds=1",), out=tmp_path / "sweep")
    with pytest.raises(VaejaxError, match=r"experiment was .*toy.* and is 'cost'"):
        sweep.run(other)
    assert read_rows(tmp_path / "sweep") == before
    assert not (tmp_path / "sweep" / "rounds=1").exists()


def test_what_the_objective_refuses_is_known_before_any_data_are_read(tmp_path):
    config = train.Config(
        dataset="mnist", data_dir=tmp_path, bound="iwae", estimator="vimco"
    )
    with pytest.raises(IncompatibleError, match=r"vimco refuses iwae .*K = 1"):
        train.check(config)
    train.check(dataclasses.replace(config, num_samples=2))


def test_a_trial_finds_what_the_experiment_alone_finds(tmp_path, monkeypatch):
    monkeypatch.setattr(train.report, "draw", lambda *_: {})
    alone = train.run(tiny(tmp_path / "alone", seed=1)).summary
    settings = ("dataset=digits", "epochs=1", "eval_num_samples=7", "eval_examples=20")
    rows = sweep.run(
        sweep.Config(
            grid=("seed=1", "model_settings=latent_dim=2 hidden=8"),
            settings=settings,
            out=tmp_path / "sweep",
        )
    ).rows
    assert [row["status"] for row in rows] == ["finished"]
    assert rows[0]["test.log_likelihood"] == alone["test"]["log_likelihood"]
    assert rows[0]["train.bound"] == alone["train"]["bound"]


def trial_row(lr: float, seed: int, bound: float, test: float, **more: Any) -> dict:
    return {
        **{"learning_rate": lr, "seed": seed, "status": "finished"},
        **{"test.log_likelihood": test, "train.chosen.out_of": 9},
        **{"train.chosen.validation.bound": bound, **more},
    }


def test_a_sweep_names_the_best_by_validation_and_never_by_test():
    rows = [trial_row(0.1, seed, -90.0 - seed, -80.0) for seed in (0, 1)]
    rows += [trial_row(0.2, seed, -85.0 - 3 * seed, -99.0) for seed in (0, 1)]
    rows.append({"learning_rate": 0.3, "seed": 0, "status": "failed"})
    varied = ["learning_rate", "seed"]
    best = best_by_validation(rows, varied)
    assert best == "highest validation bound: -86.5, by learning_rate=0.2"
    other = [
        {**row, "train.chosen.validation.elbo": row["learning_rate"]} for row in rows
    ]
    by_elbo = best_by_validation(
        [{**row, "num_samples": 2} for row in other], [*varied, "num_samples"]
    )
    assert by_elbo == (
        "highest validation elbo: 0.2, by learning_rate=0.2 num_samples=2"
    )
    without = [{k: v for k, v in row.items() if "validation" not in k} for row in rows]
    assert "add select=validation" in best_by_validation(without, varied)
    assert best_by_validation(rows, [*varied, "dataset"]) == ""
    assert best_by_validation([{"status": "finished", "size": 1}], ["size"]) == ""


def ray_command(out: Path, *words: str) -> dict[str, Any]:
    """The program of a process that sweeps the toy on a local Ray."""
    command = [sys.executable, "-m", "experiments.sweep", "--experiment", TOY]
    return {
        "args": [*command, "--ray", "local", "--out", str(out), *words],
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "cwd": ROOT,
        "env": os.environ | {"JAX_PLATFORMS": "cpu"},
    }


needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="needs Ray: pip install -e '.[cluster]'",
)


@needs_ray
def test_a_local_ray_tries_again_what_died_and_reports_what_fails(tmp_path):
    what = "what=works,fails,crashes,dies once,always dies"
    command = ray_command(tmp_path, "--grid", what, "--max-retries", "1")
    done = subprocess.run(**command, check=False)
    assert done.returncode == 2
    assert "3 of 5 trials failed: what=fails, what=crashes, " in done.stderr
    rows = {row["what"]: row for row in read_rows(tmp_path)}
    assert [row["status"] for row in rows.values()] == [
        *("finished", "failed", "failed", "finished", "failed")
    ]
    assert rows["fails"]["message"] == "the toy fails: use another"
    assert "died" in rows["always dies"]["message"]
    attempts = [
        len(next(tmp_path.glob(f"what={what}*/attempts")).read_text())
        for what in ("fails", "dies_once", "always_dies")
    ]
    assert attempts == [1, 2, 2]


@needs_ray
def test_a_claim_that_a_local_ray_cannot_meet_is_refused(tmp_path):
    command = ray_command(tmp_path, "--grid", "size=1", "--gpus-per-trial", "99")
    refused = subprocess.run(**command, check=False)
    assert refused.returncode == 2
    assert "a trial claims 99 GPUs, and there are 0" in refused.stderr


@needs_ray
def test_a_sweep_on_ray_that_is_terminated_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(**ray_command(tmp_path, "--grid", "what=works,waits"))
    waiting = tmp_path / "what=waits" / "attempts"
    while process.poll() is None and not waiting.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "interrupted: what is done is in " in err
    assert read_rows(tmp_path)[1]["status"] == "unfinished"


@pytest.mark.parametrize(
    ("varied", "marks", "error"),
    [
        (
            ["size", "seed"],
            [("size=1", -2.0, 2**0.5), ("size=2", -7.0, None)],
            "standard deviation over seeds",
        ),
        (
            ["size", "seed_of_data"],
            [
                ("size=1 seed_of_data=0", -1.0, 0.1),
                ("size=1 seed_of_data=1", -3.0, 0.2),
                ("size=2 seed_of_data=0", -7.0, 0.3),
            ],
            "Monte Carlo error",
        ),
    ],
)
def test_a_sweep_of_trainings_is_drawn_with_its_errors(
    varied, marks, error, tmp_path, monkeypatch
):
    """Over seeds their spread, and else each one's own error."""
    found = [(1, 0, -1.0, 0.1), (1, 1, -3.0, 0.2), (2, 0, -7.0, 0.3)]
    rows = [
        {"size": size, varied[1]: other, "status": "finished"}
        | {figure.SCORE: score, figure.ERROR: own}
        for size, other, score, own in found
    ]
    rows += [{"size": 3, varied[1]: 0, "status": "failed"}]
    drawn = []

    def bars(rows, error_name):
        drawn.append((rows, error_name))
        return log_likelihood_bars(rows, error_name)

    monkeypatch.setattr(figure, "log_likelihood_bars", bars)
    assert figure.draw(tmp_path, rows, varied)
    ((shown, named),) = drawn
    assert named == error
    for row, (name, value, own) in zip(shown, marks, strict=True):
        assert (row["name"], row["log_likelihood"]) == (name, value)
        assert row["monte_carlo_error"] == (own and pytest.approx(own))
    assert (tmp_path / "figures" / "log_likelihood.png").stat().st_size > 1000
    assert not figure.draw(tmp_path, rows[-1:], varied)


def test_the_values_of_a_grid_stand_between_commas_or_spaces(tmp_path):
    together = make_trials("train", ["num_samples=1,5", "seed=0"], [], tmp_path)
    apart = make_trials("train", ["num_samples=1", "5", "seed=0"], [], tmp_path)
    assert together == apart
    assert len(apart) == 2
