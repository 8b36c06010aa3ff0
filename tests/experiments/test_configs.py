"""Every file of experiments/configs is a training that can be, and its result stands.

The settings are read as `--config` reads them and checked unreduced, with their names
and numbers, as the printed commands are.
"""

import re
import tomllib
from pathlib import Path

import pytest

from experiments import train
from experiments.harness.cli import parse
from experiments.training.config import Config
from vaejax.core import VaejaxError

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments" / "configs").glob("*"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def test_there_are_results():
    assert len(FILES) > 30
    assert {path.suffix for path in FILES} == {".toml"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_result_has_its_command_and_stands_on_a_page(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = path.read_text()
    (words,) = re.findall(
        r"^#     python -m experiments.train (.*)", text, re.MULTILINE
    )
    assert words == f"--config {path.relative_to(ROOT)}"
    config = parse(Config, words.split())
    assert config.out == Path("runs", path.stem)
    train.check(config)
    numbers = tomllib.loads(text)["result"].values()
    assert numbers
    assert all(numbers)
    for number in numbers:
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", TEXT), number


def test_flags_override_a_file(tmp_path):
    (tmp_path / "one.toml").write_text('epochs = 3\nbound = "iwae"\n[result]\nelbo = 1')
    (tmp_path / "config.json").write_text('{"epochs": 3, "jax_enable_x64": false}')
    config = parse(Config, ["--config", str(tmp_path / "one.toml"), "--epochs", "4"])
    assert (config.epochs, config.bound) == (4, "iwae")
    for path in (tmp_path, tmp_path / "config.json"):  # a run's folder, and its file
        config = parse(Config, ["--epochs", "5", "--config", str(path)])
        assert (config.epochs, config.bound) == (5, "elbo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown setting 'epoch': did you mean 'epochs'[?]"),
        ("epochs = 'many'", "epochs is .*many.*expected int"),
        ("epochs = 0", "--epochs is 0: use an integer"),
        ("epochs", "is not a TOML file .*: correct its text"),
        ("epochs = 1979-05-27", r"epochs is datetime.date\(.*expected int"),
        ("epochs = 07:32:00", r"epochs is datetime.time\(.*expected int"),
        ("learning_rate = 1979-05-27T07:32:00Z", "learning_rate is .*expected float"),
        ("model_settings = [1979-05-27]", "model_settings is .*expected tuple"),
        ("learning_rate = nan", "--learning-rate is nan: use a number"),
        (f"epochs = {2**65}", "not a TOML file .it holds an integer of more than 64"),
        (f"epochs = {'9' * 5_000}", "is not a TOML file .*digits"),
        ("epochs = " + "[" * 20_000, "not a TOML file .it is nested too deeply"),
        ("epochs = " + "{a=" * 5_000, "not a TOML file .it is nested too deeply"),
        (".".join(["a"] * 5_000) + " = 1", "not a TOML file .it is nested too deeply"),
        (f"[{'.'.join(['a'] * 5_000)}]", "not a TOML file .it is nested too deeply"),
        (f"{'x' * 5_000} = 1", r"unknown setting 'x{10,60}\.\.\.: use one of"),
        (None, "cannot read .*No such file.*: name a .toml file or a config.json"),
    ],
)
def test_a_file_that_cannot_be_is_one_sentence(text, message, tmp_path):
    path = tmp_path / "one.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(VaejaxError, match=message) as told:
        parse(Config, ["--config", str(path)])
    assert len(str(told.value)) < 3_000


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("one", "cannot read one .*: did you mean one.toml[?] name a .toml file"),
        (".", "cannot read config.json .*: name a .toml file or a config.json"),
        ("other.json", "other.json is not a JSON file .*: correct its text"),
        ("list.json", "list.json is not a JSON file .it is not a JSON object"),
    ],
)
def test_a_path_that_is_no_file_of_settings_names_one(
    typed, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("one.toml").touch()
    Path("other.json").touch()
    Path("list.json").write_text("[]")
    with pytest.raises(VaejaxError, match=message):
        parse(Config, ["--config", typed])
