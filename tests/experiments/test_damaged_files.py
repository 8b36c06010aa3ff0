"""A damaged file of a run is named, with what to do, and the rest is not lost."""

import ast
import csv
import dataclasses
import json
import os
import typing
from pathlib import Path
from typing import Literal

import pytest

from experiments import sweep
from experiments.harness import metric_rows, run_settings
from experiments.harness.config_file import typed_settings
from experiments.harness.journal import Journal
from experiments.harness.json_files import (
    REMEDIES,
    DamagedFileError,
    parse_json,
    read_json,
    read_lines,
)
from experiments.training import load
from experiments.training.config import Config
from tests import toy_experiment
from vaejax.core import VaejaxError

ROOT = Path(__file__).parents[2]
DAMAGED = {
    "empty": b"",
    "cut short": b'{"cell": ["a"], "rows": [{"x"',
    "no UTF-8": b'{"cell": ["\xff"], "rows": []}',
    "UTF-16": '{"cell": ["a"], "rows": []}'.encode("utf-16"),
    "deeper than the stack": b"[" * 100_000,
    "objects deeper than the stack": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep": b'{"cell": ["a"], "rows": [' + b"[" * 60 + b"]" * 60 + b"]}",
    "a name twice": b'{"cell": ["a"], "cell": ["b"], "rows": []}',
    "an integer of many digits": b'{"cell": [' + b"9" * 5_000 + b'], "rows": []}',
    "an integer of more than 64 bits": b'{"cell": [18446744073709551616], "rows": []}',
    "two values": b'{"cell": ["a"], "rows": []} {}',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_json_is_a_value_error(name):
    with pytest.raises(ValueError):  # noqa: PT011 (its words are Python's)
        parse_json(DAMAGED[name])


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "[[-1e999]]"])
def test_numbers_are_finite_but_in_rows(number):
    text = f'{{"a": {number}}}'.encode()
    with pytest.raises(ValueError, match="not finite"):
        parse_json(text)
    parse_json(text, finite=False)


def test_what_is_json_is_read_as_it_is():
    value = {"a": [1, 2.5, None, True, "ä"], "b": {"c": [[[]]], "d": -(2**64) + 1}}
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("file", [*REMEDIES, "seconds.json"])
def test_a_damaged_file_is_named_with_its_remedy(name, file, tmp_path):
    (tmp_path / file).write_bytes(DAMAGED[name])
    remedy = REMEDIES.get(file, "restore it from a copy, or remove it")
    with pytest.raises(DamagedFileError, match=f"{file} is damaged .*: {remedy}$"):
        read_json(tmp_path / file)
    (tmp_path / file).write_text("[]")
    with pytest.raises(DamagedFileError, match="it is not a JSON object"):
        read_json(tmp_path / file)


def test_nothing_else_reads_json():
    """Words between processes, or to the starting process, are no file."""
    own = {"experiments/harness/run_settings.py", "experiments/harness/json_files.py"}
    own |= {
        "experiments/training/processes.py",
        "experiments/performance/peers/protocol.py",
    }
    own |= {"experiments/performance/peers/contestants.py", "vaejax/data/prepared.py"}
    own |= {"vaejax/trained/recipe.py"}
    found = {
        str(path.relative_to(ROOT))
        for package in ("vaejax", "experiments")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("json.load", "json.loads")
    }
    assert found == own


# Journals.

BAD_LINES = DAMAGED | {
    "no object": b"7",
    "no cell": b'{"rows": []}',
    "a cell of lists": b'{"cell": [["a"]], "rows": []}',
    "a word as a cell": b'{"cell": "a", "rows": []}',
    "rows that are none": b'{"cell": ["a"], "rows": [1]}',
    "a cost that is none": b'{"cell": ["a"], "cost": 3}',
    "folds that are none": b'{"cell": ["a"], "folds": {}}',
    "one row": b'{"cell": ["a"], "rows": {}}',
}


def journal_of(out: Path) -> Path:
    path = out / "metrics.jsonl"
    journal = Journal(out)
    for number, name in enumerate("abc"):
        journal.write((name, number), rows=[{"value": number, "none": None}])
        journal.write((name, number), cost={"seconds": float("nan")})
    return path


@pytest.mark.parametrize("name", BAD_LINES)
@pytest.mark.parametrize("at", [0, 2, 5])
def test_a_journal_goes_on_from_its_other_lines(name, at, tmp_path, capsys):
    path = journal_of(tmp_path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:at], BAD_LINES[name], *lines[at + 1 :]]))
    assert capsys.readouterr().out == ""
    journal = Journal(tmp_path)
    said = capsys.readouterr().out
    assert said.startswith(f"{path} is damaged: line {at + 1} (")
    assert said.endswith("the line is removed, and its cell is measured again\n")
    assert said.count("\n") == 1
    lost = "abc"[at // 2], at // 2
    what = "rows" if at % 2 == 0 else "cost"
    for number, cell in enumerate("abc"):
        for key in ("rows", "cost"):
            kept = ((cell, number), key) != (lost, what)
            assert (journal.read((cell, number), key) is not None) == kept
    again = [] if what == "rows" else {}
    journal.write(lost, **{what: again})
    assert Journal(tmp_path).read(lost, what) == again
    assert capsys.readouterr().out == ""


def test_a_line_that_a_kill_cut_short_is_no_damage(tmp_path, capsys):
    path = journal_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    journal = Journal(tmp_path)
    assert capsys.readouterr().out == ""
    assert journal.read(("c", 2), "cost") is None
    assert journal.read(("c", 2), "rows") == [{"value": 2, "none": None}]


def test_a_run_without_a_damaged_line_shows_the_others(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo\n{"epoch": 3}\n')
    assert metric_rows.read_rows(tmp_path) == [{"epoch": 1}, {"epoch": 3}]
    assert "metrics.jsonl is damaged: line 2 (" in capsys.readouterr().out
    figures = '{"train": {"bound": 1.5}}\n{"validation": 7, "epoch": 1}\n'
    (tmp_path / "metrics.jsonl").write_text(figures)
    assert metric_rows.read_rows(tmp_path) == []
    with pytest.raises(VaejaxError, match=r"cannot read .*jsonl \(No such file"):
        read_lines(tmp_path / "none/metrics.jsonl")


# Sweeps.

TRIAL = {"results.json": "remove it and resume its run", "config.json": "restore it"}


@pytest.mark.parametrize("file", TRIAL)
@pytest.mark.parametrize("content", [b'{"test": {"val', b'{"test": NaN}', b"[" * 10**5])
def test_a_damaged_trial_is_a_row_and_the_others_run(file, content, tmp_path, capsys):
    config = sweep.Config(
        experiment="tests.toy_experiment", grid=("size=1,2",), out=tmp_path
    )
    sweep.run(config)
    (tmp_path / "size=1" / file).write_bytes(content)
    config = dataclasses.replace(config, grid=("size=1,2,3",))
    results = sweep.run(config)
    statuses = {row["size"]: row["status"] for row in results.rows}
    assert statuses == {1: "damaged", 2: "finished", 3: "finished"}
    assert f"size=1/{file} is damaged (" in capsys.readouterr().out
    with (tmp_path / "results.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert TRIAL[file] in rows[0]["message"]
    assert [row["test.value"] for row in rows] == ["", "4.0", "6.0"]
    with pytest.raises(VaejaxError, match="1 of 3 trials failed: size=1"):
        sweep.main(config)
    if file == "results.json":
        (tmp_path / "size=1" / file).unlink()
        assert not sweep.run(config).failed()


def change(path: Path, **entries: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILT = {
    "a precision that is none": lambda path: change(path, jax_enable_x64=3),
    "a size that is none": lambda path: change(path, size="2"),
    "a word in the place of words": lambda path: change(path, words="a"),
    "a folder": a_folder,
    "a list": lambda path: path.write_text("[]"),
}


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("finished", [True, False])
def test_a_trial_of_damaged_settings_is_named_and_the_others_run(
    spoil, finished, tmp_path, capsys
):
    config = sweep.Config(
        experiment="tests.toy_experiment", grid=("size=1,2",), out=tmp_path
    )
    sweep.run(config)
    if not finished:
        (tmp_path / "size=1" / "results.json").unlink()
    SPOILT[spoil](tmp_path / "size=1" / "config.json")
    config = dataclasses.replace(config, grid=("size=1,2,3",))
    rows = sweep.run(config).rows
    assert [row["status"] for row in rows] == ["damaged", "finished", "finished"]
    assert str(tmp_path / "size=1" / "config.json") in rows[0]["message"]
    assert rows[0]["message"] in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", "log.txt"])
@pytest.mark.parametrize("kind", ["a file", "a folder", "a pipe"])
def test_a_trial_that_cannot_be_written_stops_no_other(name, kind, tmp_path):
    path = tmp_path / "size=1" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a file":
        path.write_text("")
    else:
        path.mkdir()
    config = sweep.Config(
        experiment="tests.toy_experiment", grid=("size=1,2",), out=tmp_path
    )
    first, second = sweep.run(config).rows
    can_be = kind == ("a file" if name else "a folder")
    assert first["status"] == ("finished" if can_be else "failed")
    assert can_be or path.name in first["message"]
    assert second["status"] == "finished"


@pytest.mark.parametrize(("name", "value"), [("jax_enable_x64", 3), ("size", "2")])
def test_a_run_of_damaged_settings_does_not_go_on(name, value, tmp_path):
    config = toy_experiment.Config(out=tmp_path, resume=True)
    with pytest.raises(ZeroDivisionError):
        toy_experiment.run(dataclasses.replace(config, what="crashes"))
    change(tmp_path / "config.json", what="works", **{name: value})
    with pytest.raises(DamagedFileError, match=rf"config.json is damaged \({name} is "):
        toy_experiment.run(config)


# Settings.

VALUES = (None, True, 1, 1.5, "word", ["word"], [1], [["word"]], {}, {"a": 1})


def accepted(annotation: object) -> list[object]:
    """The JSON values that a field of this type may have."""
    kinds = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return [[value] for value in accepted(kinds[0])]
    if typing.get_origin(annotation) is Literal:
        return list(kinds)
    if kinds:
        return [value for kind in kinds for value in accepted(kind)]
    names = {bool: [True], int: [1], float: [1, 1.5], str: ["word"], Path: ["word"]}
    return names.get(annotation, [None])


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Config)])
def test_every_setting_is_of_its_fields_type(name, tmp_path):
    may_be = [*map(repr, accepted(typing.get_type_hints(Config)[name]))]
    path = tmp_path / "config.json"
    for value in VALUES:
        if repr(value) in may_be:
            typed_settings(Config, {name: value}, path)
            continue
        with pytest.raises(DamagedFileError, match=rf"json is damaged \({name} is "):
            typed_settings(Config, {name: value}, path)


def test_settings_are_read_as_they_were_written(tmp_path):
    config = Config(
        data_dir=Path("a/b"),
        learning_rate=1,
        model_settings=("hidden=8", "latent_dim=2"),
        num_labels=7,
        wandb="ä",
    )
    written = run_settings.config_as_json(config)
    del written[run_settings.X64]  # no setting of its own
    assert Config(**typed_settings(Config, written, tmp_path)) == config


@pytest.mark.parametrize(
    "setting",
    [
        {"data_dir": "a\0b"},
        {"start_from": "\ud800"},
        {"learning_rate": "0.001"},
        {"model_settings": "hidden=8"},
        {"epochs": 1.0},
        {"allow_bias": "false"},
    ],
    ids=str,
)
def test_a_run_of_damaged_settings_is_refused(setting, tmp_path):
    settings = run_settings.settings_of(Config(dataset="digits")) | setting
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (name,) = setting
    with pytest.raises(DamagedFileError, match=rf"config.json is damaged \({name} is "):
        load.load_run(tmp_path)


def test_a_fault_of_ours_is_not_laid_to_the_settings(tmp_path, monkeypatch):
    settings = run_settings.settings_of(Config(dataset="digits"))
    (tmp_path / "config.json").write_text(json.dumps(settings))

    def broken(config: Config) -> None:
        raise TypeError("a fault of ours")

    monkeypatch.setattr(load, "prepare", broken)
    with pytest.raises(TypeError, match="a fault of ours"):
        load.load_run(tmp_path)
