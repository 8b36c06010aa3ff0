"""docs/trained_models.md does what it shows, line by line."""

import shlex
from pathlib import Path

from run_folders import untrained

from experiments import apply
from experiments.harness.cli import parse

PAGE = Path(__file__).parents[2] / "docs" / "trained_models.md"


def blocks(language: str) -> list[str]:
    fenced = PAGE.read_text().split("```")[1::2]
    parts = [text.partition("\n") for text in fenced]
    return [code for name, _, code in parts if name == language]


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    untrained(Path("runs/digits_vae"), "gaussian_mlp", data_shape=(8, 8, 1))
    names: dict = {}
    for block in blocks("python"):
        exec(block, names)
    assert "TrainedModel(gaussian_mlp" in capsys.readouterr().out
    assert names["lines"].shape == (3, 5, 8, 8, 1)
    assert names["strange"].shape == names["errors"].shape == (20,)
    training, commands = blocks("")
    assert training.endswith("--out runs/digits_vae\n")
    for line in commands.splitlines():
        _, _, command, *words = shlex.split(line)
        assert command == "experiments.apply"
        assert apply.run(parse(apply.Config, words)).out.exists()
