"""The list of runs and their comparison, of whole runs and of damaged ones."""

import csv
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_run import tiny

from experiments import runs, sweep, train
from experiments.harness import metric_rows, run_folder
from experiments.harness.cli import run_main
from tests import toy_experiment
from vaejax.core import VaejaxError

METRICS = [
    {
        "epoch": epoch,
        "step": 15 * epoch,
        "train": {"bound": train + 5, "elbo": train},
        "validation": {"bound": validation + 5, "elbo": validation},
    }
    for epoch, train, validation in ((1, -40.0, -39.0), (2, -30.0, -31.0))
]


def make_run(
    path: Path,
    metrics: list[dict[str, Any]] = METRICS,
    test: dict[str, float] | None = None,
    **settings: Any,
) -> Path:
    """A folder as experiments.train writes it; finished if it has test figures."""
    with run_folder.open_run(path, train.Config(**settings), overwrite=False):
        metric_rows.write_rows(path, metrics)
        if test is not None:
            run_folder.write_json(path / "results.json", {"test": test, "seed": 3})
    return path


def call(monkeypatch, capsys, *words: object) -> tuple[int, str]:
    """The exit code and what was printed, on a line."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["runs.py", *map(str, words)])
    with pytest.raises(SystemExit) as exit_:
        run_main(runs.Config, runs.run)
    captured = capsys.readouterr()
    return exit_.value.code, " ".join((captured.out + captured.err).split())


def test_every_run_below_a_folder_is_listed_with_what_became_of_it(
    tmp_path, monkeypatch, capsys
):
    make_run(tmp_path / "a" / "done", test={"log_likelihood": -29.5}, seed=4)
    make_run(tmp_path / "a" / "cut", metrics=METRICS[:1], seed=5)
    gone = make_run(tmp_path / "a" / "gone", estimator="vimco")
    config = train.Config(estimator="vimco")
    with (
        pytest.raises(VaejaxError),
        run_folder.open_run(gone, config, overwrite=False, resume=True),
    ):
        raise VaejaxError("not finite at step 3: lower it")
    held = make_run(tmp_path / "b" / "going")
    (tmp_path / "c").mkdir()
    with run_folder.open_run(held, train.Config(), overwrite=False, resume=True):
        code, shown = call(monkeypatch, capsys, tmp_path)
        found = runs.run(runs.Config(folders=(tmp_path / "a", tmp_path / "b")))
    assert code == 0
    assert "done finished 2 -29.5 seed=4" in shown
    assert "cut unfinished 1 seed=5" in shown
    assert "gone failed" in shown
    assert "estimator=vimco" in shown
    assert "gone failed: not finite at step 3: lower it" in shown
    assert "going running 2" in shown
    statuses = {run.path.name: run.status for run in found}
    assert statuses == {
        "cut": "unfinished",
        "done": "finished",
        "going": "running",
        "gone": "failed",
    }
    assert runs.read_run(held).status == "unfinished"  # nobody holds the lock now


def test_a_failed_run_that_goes_on_has_failed_no_longer(tmp_path):
    config = toy_experiment.Config(what="fails", out=tmp_path, resume=True)
    with (
        pytest.raises(ZeroDivisionError),
        run_folder.open_run(tmp_path, config, overwrite=False, resume=True),
    ):
        raise ZeroDivisionError
    assert runs.read_run(tmp_path).problems == [f"{tmp_path} failed: ZeroDivisionError"]
    with run_folder.open_run(tmp_path, config, overwrite=False, resume=True):
        pass
    assert runs.read_run(tmp_path).status == "unfinished"


@pytest.mark.parametrize(
    ("trials", "status"),
    [
        (["finished", "refused"], "finished"),
        (["finished", "unfinished"], "unfinished"),
        (["failed", "unfinished"], "failed"),
        (["damaged"], "failed"),
        (7, "finished"),  # an experiment of somebody else has its own trials
        ([7], "finished"),
    ],
)
def test_a_sweep_has_the_status_of_its_trials(trials, status, tmp_path):
    out = make_run(tmp_path, test={})
    rows = trials
    if isinstance(trials, list):
        rows = [{"status": t} if isinstance(t, str) else t for t in trials]
    run_folder.write_json(out / "results.json", {"trials": rows})
    run = runs.read_run(out)
    assert run.status == status
    assert len(run.problems) == (status == "failed")


def test_a_sweep_whose_trials_failed_is_no_finished_run(tmp_path, capsys):
    config = sweep.Config(
        experiment="tests.toy_experiment", grid=("what=fails", "size=3,4"), out=tmp_path
    )
    with pytest.raises(VaejaxError, match="2 of 2 trials failed"):
        sweep.main(config)
    assert runs.read_run(tmp_path).status == "failed"
    runs.run(runs.Config(folders=(tmp_path,)))
    said = f"{tmp_path} failed: 2 of 2 trials failed, and results.csv says why"
    assert said in capsys.readouterr().out


def test_a_table_is_of_one_command_and_omits_settings_of_no_value(
    tmp_path, monkeypatch, capsys
):
    make_run(tmp_path / "a", protocol="static")
    make_run(tmp_path / "b")
    out = tmp_path / "toy"
    with run_folder.open_run(out, toy_experiment.Config(out=out), overwrite=False):
        pass
    runs.run(runs.Config(compare=(tmp_path / "a",), out=tmp_path / "c"))
    _, shown = call(monkeypatch, capsys, tmp_path)
    assert f"train in {tmp_path} (2)" in shown
    assert f"runs in {tmp_path} (1)" in shown
    assert f"unknown command in {tmp_path} (1)" in shown
    assert shown.count("protocol=") == 1


def damage(path: Path, text: str | bytes) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"model": "gau'),
        ("config.json", "[1, 2]"),
        ("results.json", ""),
        ("results.json", b"\xff\xfe\x00"),
        ("metrics.jsonl", b"\xff\xfe\x00"),
        ("metrics.jsonl", '{"epoch": 1\n{"epoch": 2}\n'),
        ("metrics.jsonl", '7\n{"epoch": 2}\n'),
        ("metrics.jsonl", '{"epoch": 9, "train": 5}\n{"epoch": 2}\n'),
        ("metrics.jsonl", '{"train": {"bound": "x"}}\n{"epoch": 2}\n'),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(
    name, content, tmp_path, monkeypatch, capsys
):
    make_run(tmp_path / "good", test={"log_likelihood": -29.5})
    bad = make_run(tmp_path / "bad", test={"log_likelihood": -28.25})
    damage(bad / name, content)
    code, shown = call(monkeypatch, capsys, tmp_path)
    assert code == 0
    assert f"{bad / name} is damaged" in shown
    assert "bad damaged" in shown
    assert "good finished 2 -29.5" in shown
    code, shown = call(
        monkeypatch, capsys, "--compare", *tmp_path.iterdir(), "--out", tmp_path / "c"
    )
    assert code == 0
    assert f"{bad / name} is damaged" in shown


@pytest.mark.parametrize("name", [*run_folder.FILES, "config.json", "lock"])
def test_a_folder_in_the_place_of_a_file_does_not_end_the_list(name, tmp_path):
    make_run(tmp_path / "good", test={"log_likelihood": -29.5})
    bad = make_run(tmp_path / "bad")
    (bad / name).unlink(missing_ok=True)
    (bad / name).mkdir()
    found = {of.path.name: of for of in runs.run(runs.Config(folders=(tmp_path,)))}
    assert found["good"].status == "finished"
    if name == "failure.txt":
        assert found["bad"].status == "failed"
        config = train.Config()
        with (
            pytest.raises(VaejaxError, match=r"cannot write .*failure\.txt"),
            run_folder.open_run(bad, config, overwrite=False, resume=True),
        ):
            pass


def test_a_comparison_of_other_runs_is_replaced_only_when_asked(tmp_path, monkeypatch):
    for name in ("a", "b"):
        make_run(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    config = runs.Config(compare=(Path("a"), Path("b")), out=Path("c"))
    for _ in range(2):  # the same one is drawn anew
        runs.run(config)
    before = (tmp_path / "c" / "comparison.csv").read_text()
    other = dataclasses.replace(config, compare=(Path("a"),))
    with pytest.raises(VaejaxError, match=r"finished run.*--out, or --overwrite"):
        runs.run(other)
    assert (tmp_path / "c" / "comparison.csv").read_text() == before
    runs.run(dataclasses.replace(other, overwrite=True))
    runs.run(other)
    for name in ("a", "b"):  # others, of the same names
        make_run(tmp_path / "elsewhere" / name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(VaejaxError, match="finished run"):
        runs.run(dataclasses.replace(other, out=tmp_path / "c"))


def test_a_line_that_is_just_being_written_is_no_damage(tmp_path):
    out = make_run(tmp_path)
    with (out / "metrics.jsonl").open("a") as lines:
        lines.write('{"epoch": 3, "tra')
    run = runs.read_run(out)
    assert (run.status, run.epoch(), run.problems) == ("unfinished", 2, [])


def test_a_comparison_is_what_differs_and_the_curves_of_both(
    tmp_path, monkeypatch, capsys
):
    make_run(
        tmp_path / "one",
        test={"log_likelihood": -29.5, "num_samples": 50},
        model_settings=("hidden=8", "latent_dim=2"),
    )
    make_run(tmp_path / "two", metrics=METRICS[:1], estimator="vimco")
    out = tmp_path / "comparison"
    flags = ["--compare", tmp_path / "one", tmp_path / "two", "--out", out]
    code, shown = call(monkeypatch, capsys, *flags)
    assert code == 0
    assert "model_settings hidden=8 latent_dim=2" in shown
    with (out / "comparison.csv").open() as file:
        facts = {row.pop(""): row for row in csv.DictReader(file)}
    assert facts == {
        "status": {"one": "finished", "two": "unfinished"},
        "epoch": {"one": "2", "two": "1"},
        "model_settings": {"one": "hidden=8 latent_dim=2", "two": ""},
        "estimator": {"one": "dreg", "two": "vimco"},
        "test.log_likelihood": {"one": "-29.5", "two": ""},
        "test.num_samples": {"one": "50", "two": ""},
        "last.validation.elbo": {"one": "-31.0", "two": "-39.0"},
        "last.train.elbo": {"one": "-30.0", "two": "-40.0"},
    }
    assert (out / "curves.png").stat().st_size > 1000


def compared(monkeypatch, out: Path, *folders: Path) -> Any:
    """The two panels that a comparison draws, by title: the lines by label."""
    drawn = []
    monkeypatch.setattr(runs, "save", lambda figure, path: drawn.append(figure))
    runs.run(runs.Config(compare=folders, out=out))
    return {
        axes.get_title("left"): {
            line.get_label(): list(line.get_ydata()) for line in axes.lines
        }
        for figure in drawn
        for axes in figure.axes
    }


def test_runs_of_different_bounds_are_compared_by_what_all_of_them_log(
    tmp_path, monkeypatch
):
    """The ELBO at KL weight 1 is compared; each line names its data set and K."""
    make_run(tmp_path / "vae", bound="elbo", estimator="pathwise", num_samples=1)
    make_run(tmp_path / "iwae", num_samples=8, dataset="digits")
    found = compared(monkeypatch, tmp_path / "c", tmp_path / "vae", tmp_path / "iwae")
    names = ["vae dataset=mnist num_samples=1", "iwae dataset=digits num_samples=8"]
    assert found == {
        "ELBO at KL weight 1, train": {name: [-40.0, -30.0] for name in names},
        "ELBO at KL weight 1, validation": {name: [-39.0, -31.0] for name in names},
    }


def test_autoencoders_which_have_no_elbo_are_compared_by_their_reconstruction(
    tmp_path, monkeypatch
):
    rows = [{"epoch": 1, "step": 3, "train": {"log_px_z": -9.0, "bound": -9.0}}]
    for name in ("a", "b"):
        make_run(tmp_path / name, metrics=rows)
    found = compared(monkeypatch, tmp_path / "c", tmp_path / "a", tmp_path / "b")
    title = r"reconstruction, $\log p(x\,|\,z)$, train"
    assert found[title] == {"a": [-9.0], "b": [-9.0]}


def test_a_comparison_names_the_runs_that_its_figure_leaves_out(
    tmp_path, monkeypatch, capsys
):
    rows = [{"epoch": 1, "step": 3, "train": {"log_px_z": -9.0, "bound": -9.0}}]
    make_run(tmp_path / "autoencoder", metrics=rows)
    make_run(tmp_path / "vae")
    both = tmp_path / "autoencoder", tmp_path / "vae"
    compared(monkeypatch, tmp_path / "c", *both)
    printed = capsys.readouterr().out
    assert "curves.png has no line for autoencoder, which recorded no elbo" in printed
    compared(monkeypatch, tmp_path / "d", both[1])
    assert "has no line" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("EMPTY", "no run under .*name the folder of a run"),
        ("EMPTY/none", "none is not a folder"),
        ("--compare EMPTY", "holds no run: name a folder with a config.json"),
        ("--compare RUN RUN", "names a run twice"),
        ("RUN --compare RUN", "leave the other folders out"),
    ],
)
def test_a_mistake_is_one_message(words, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "run")
    words = words.replace("EMPTY", str(tmp_path / "empty"))
    words = words.replace("RUN", str(tmp_path / "run"))
    code, shown = call(monkeypatch, capsys, *words.split(), "--out", tmp_path / "c")
    assert code == 2
    assert shown.count("error:") == 1
    assert re.search(message, shown), shown


def test_what_train_writes_is_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(train.report, "draw", lambda *_: {})
    config = tiny(tmp_path / "run")
    summary = train.run(config).summary
    (run,) = runs.run(runs.Config(folders=(tmp_path,)))
    assert (run.status, run.epoch(), run.problems) == ("finished", 1, [])
    assert run.results == json.loads(json.dumps(summary))
    numbers = run.numbers()
    assert numbers["test.log_likelihood"] == summary["test"]["log_likelihood"]
    assert numbers["test.elbo"] == summary["test"]["elbo"]
    assert numbers["last.train.elbo"] == run.metrics[-1]["train"]["elbo"]
    (run.path / "results.json").unlink()
    monkeypatch.setattr(train, "final_figures", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train.run(dataclasses.replace(config, resume=True))
    assert runs.read_run(run.path).status == "failed"
