"""The examples of docs/examples run, fit one screen, and give what they promise."""

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from experiments import train
from experiments.harness.cli import parse

EXAMPLES = sorted((Path(__file__).parents[1] / "docs" / "examples").glob("*.py"))


def example(name: str) -> ModuleType:
    """An example, imported from its file."""
    (path,) = [path for path in EXAMPLES if path.stem == name]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run_here():
    run = ["missing_values", "own_estimator", "own_network", "own_nnx_encoder"]
    assert [path.stem for path in EXAMPLES] == [*run, "table", "vae"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_fits_one_screen(path):
    assert len(path.read_text().splitlines()) < 80


def test_the_example_of_a_vae_goes_from_data_to_log_px(capsys):
    untrained = -64 * 0.693  # of 64 fair bits
    assert example("vae").main(epochs=3, num_samples=50) > untrained
    assert "test log p(x)" in capsys.readouterr().out


def test_the_example_of_missing_values_imputes_better_than_a_mean_and_a_regression():
    """A hundred epochs of the five hundred."""
    errors = example("missing_values").main(epochs=100)
    assert errors["MIWAE"] < errors["IterativeImputer"] < errors["mean"]


def test_the_example_of_a_table_imputes_better_than_averages_and_modes(capsys):
    found = example("table").main(epochs=60)
    assert found["columns, RMSE"] < 0.8 * found["average or mode, RMSE"]
    assert found["columns, wrong"] < 0.6 * found["average or mode, wrong"]
    assert capsys.readouterr().out.startswith("column 0: normal:")


def test_the_example_of_networks_trains():
    assert example("own_network").main(epochs=3) > -64 * 0.693


def test_the_example_of_an_encoder_trains_by_its_command(tmp_path):
    (path,) = [path for path in EXAMPLES if path.stem == "own_nnx_encoder"]
    assert len(path.read_text().splitlines()) < 60
    _, text = path.read_text().split("python -m experiments.train")
    command = text.partition("\n\n")[0].replace("\\\n", "")
    words = command.replace("docs/examples", str(path.parent))
    config = parse(train.Config, words.split())
    assert config.model_settings == ("latent_dim=16",)
    short = {"epochs": 3, "eval_num_samples": 20, "out": tmp_path / "own"}
    found = train.run(dataclasses.replace(config, **short))
    assert found.model.name == "own_vae"
    assert found.summary["test"]["elbo"] > -64 * 0.693
    copy = tmp_path / "own" / "code" / "own_nnx_encoder.py"
    assert copy.read_text() == path.read_text()


def test_the_example_of_an_estimator_proves_it_unbiased():
    assert example("own_estimator").main().unbiased


def test_the_proof_of_the_example_finds_a_planted_bias(monkeypatch):
    module = example("own_estimator")
    # A baseline that is the sample's own signal leaves no score at all.
    monkeypatch.setattr(module.jnp, "roll", lambda f, shift: f)
    assert module.main(draws=4000).unbiased is False
