"""The examples of docs/your_data.md run, on files that the test makes."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import train
from experiments.harness.cli import run_main
from experiments.harness.json_files import read_json

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[3] / "docs" / "your_data.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if not kind for line in text.splitlines()]
SCRIPTS = [text for kind, text in BLOCKS if kind == "python"]
COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """120 photographs of 40 x 28 pixels of three classes, and 400 rows of counts."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("own")
    for k, name in enumerate(COLOURS):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(40):
            photo = np.zeros((40, 28, 3), np.uint8)
            photo[..., k] = 200
            photo[i % 20 : i % 20 + 15, 5:20] = rng.integers(0, 256, 3)
            Image.fromarray(photo).save(folder / "photos" / name / f"{i}.png")
    cells = rng.integers(3, size=400)
    np.save(folder / "cells.npy", cells)
    np.save(folder / "counts.npy", rng.poisson(rng.gamma(2.0, 2.0, (3, 30))[cells]))
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=lambda line: line.split()[-1])
def test_a_command_of_the_page_trains(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    python, module, name, *words = shlex.split(command)
    assert [python, module, name] == ["python", "-m", "experiments.train"]
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    with pytest.raises(SystemExit) as ended:
        run_main(train.Config, train.run)
    assert ended.value.code == 0
    found = next(
        line for line in capsys.readouterr().out.splitlines() if line[:6] == "found "
    )
    if "--image-size" not in words and "photos" in words:
        assert " ".join(found.split()) in " ".join(PAGE.split())
    out = folder / words[-1]
    assert np.isfinite(read_json(out / "results.json")["test"]["log_likelihood"])
    pictures = (out / "figures" / "reconstructions.png").exists()
    assert pictures == ("photos" in words)


def test_the_script_of_the_page_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (script,) = SCRIPTS
    exec(compile(script, "docs/your_data.md", "exec"), {})
    said = capsys.readouterr().out
    assert said.startswith("the arrays: 400 examples of shape [30], counts")
    assert "40 examples, S = 100, mean log p(x)" in said


def test_an_example_takes_at_most_five_commands_or_sixty_lines():
    assert len(COMMANDS) <= 5
    assert all(len(script.splitlines()) <= 60 for script in SCRIPTS)
