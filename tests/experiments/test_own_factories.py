"""A user's own factories on the command line, and in the runs that name them."""

import sys

import pytest
from tiny_run import tiny

from experiments import estimator_variance, train
from experiments.harness.arguments import named, split_words
from experiments.harness.cli import run_main
from experiments.training.load import load_run, load_trained
from vaejax.core import VaejaxError

pytestmark = pytest.mark.slow

MODEL = '''
import jax.numpy as jnp
from flax import nnx
from vaejax import Model, from_networks
from vaejax.families import bernoulli
from vaejax.priors import standard_normal

def my_vae(data_shape: tuple[int, ...], latent_dim: int = 3) -> Model:
    """Linear."""
    def encoder(rngs):
        return nnx.Sequential(jnp.ravel, nnx.Linear(64, 2 * latent_dim, rngs=rngs))
    def decoder(rngs):
        return nnx.Linear(latent_dim, 64, rngs=rngs)
    return from_networks(
        encoder=encoder, decoder=decoder, prior=standard_normal(latent_dim),
        likelihood=bernoulli(), data_shape=data_shape,
    )
'''
BOUND = """
from vaejax import Bound
from vaejax.bounds import iwae

def smallest(scale: float = 1.0) -> Bound:
    return Bound(
        name=f"smallest:scale={scale}",
        aggregate=lambda log_w: scale * log_w.min(),
        relation="lower",
    )
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["m.py:f"], [("m.py:f", [])]),
        (["a.b:f:x=1:y=2"], [("a.b:f", ["x=1", "y=2"])]),
        (["m.py:f", "x=1", "dreg"], [("m.py:f", ["x=1"]), ("dreg", [])]),
        (["m.py:f,dreg"], [("m.py:f", []), ("dreg", [])]),
        (["m.py:f,x=1"], [("m.py:f", ["x=1"])]),
        (
            ["gaussian_mlp:likelihood=m.py:f:latent_dim=2"],
            [("gaussian_mlp", ["likelihood=m.py:f", "latent_dim=2"])],
        ),
        (["prior=m.py:f"], None),
    ],
)
def test_a_colon_is_before_a_setting_or_in_a_name(words, expected):
    if expected is None:
        with pytest.raises(VaejaxError, match="follows no name"):
            named(split_words(words))
    else:
        assert named(split_words(words)) == expected


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the user's files, and a run that used one of them."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "models.py").write_text(MODEL)
    (folder / "bounds.py").write_text(BOUND)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = tiny(folder / "run", model="models.py:my_vae", model_settings=())
        train.run(config)
    (folder / "models.py").unlink()
    return folder


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_a_run_of_the_users_model_is_loaded_from_its_copy(folder):
    with pytest.raises(
        VaejaxError, match=r"run names code to run, models.py: .*--trust"
    ):
        load_run(folder / "run")
    trained = load_trained(folder / "run", trust=True)
    assert trained.model.latent_shape.shape == (3,)
    assert trained.params.encoder["layers"][1]["kernel"].shape == (64, 6)


def command(monkeypatch, capfd, module, *words):
    monkeypatch.setattr(sys, "argv", ["command.py", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        run_main(module.Config, module.run)
    return caught.value.code, capfd.readouterr().err


MEASURE = (
    *("--checkpoint", "run", "--bounds", "bounds.py:smallest:scale=2"),
    *("--estimators", "pathwise", "--num-samples", 2, "--draws", 20),
    *("--batch-size", 2, "--overwrite"),
)


def test_a_command_takes_the_users_bound_and_runs_a_trusted_model(
    folder, monkeypatch, capfd
):
    words = (*MEASURE, "--out", "measured")
    code, err = command(monkeypatch, capfd, estimator_variance, *words)
    assert code == 2
    assert "run names code to run, models.py" in err
    assert not (folder / "measured").exists()
    code, err = command(monkeypatch, capfd, estimator_variance, *words, "--trust")
    assert code == 0, err
    assert "smallest:scale=2" in (folder / "measured" / "results.csv").read_text()
    assert (folder / "measured" / "code" / "bounds.py").read_text() == BOUND


def test_a_file_of_settings_names_code_only_if_it_is_trusted(
    folder, monkeypatch, capfd
):
    (folder / "models.py").write_text(MODEL)
    words = ("--config", "run", "--out", "again")
    code, err = command(monkeypatch, capfd, train, *words)
    assert code == 2
    assert "run names code to run, models.py" in err
    code, err = command(monkeypatch, capfd, train, *words, "--trust")
    assert code == 0, err


def test_a_run_goes_on_with_the_code_that_it_began_with(folder):
    (folder / "models.py").write_text(MODEL.replace("Linear.", "Changed."))
    more = tiny(
        folder / "run",
        model="models.py:my_vae",
        model_settings=(),
        epochs=2,
        resume=True,
    )
    with pytest.raises(VaejaxError, match=r"models.py is not as it was when the run"):
        train.run(more)
    (folder / "models.py").write_text(MODEL)
    assert train.run(more).summary["seed"] == 0
