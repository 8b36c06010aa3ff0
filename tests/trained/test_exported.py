"""Programs of a trained model compute what the model does, also without vaejax."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from run_folders import SMALL, untrained
from tiny_run import tiny

import vaejax
from experiments import export, train
from vaejax import VaejaxError
from vaejax.data.standardize import Standardization
from vaejax.trained.exported import CHUNK, programs, weights

pytestmark = pytest.mark.slow

SEED = 3


def examples(run, count):
    """Observations as the model sees them, and labels if it takes them."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (count, *run.recipe.data_shape)).astype(float)
    classes = run.model.labels.num_classes
    return x, None if classes is None else np.arange(count) % classes


@pytest.mark.parametrize("name", SMALL)
def test_every_model_is_exported(name, tmp_path):
    run = untrained(tmp_path, name)
    made, own = programs(run, num_samples=5), weights(run)
    assert ("log_likelihood" in made) == run.model.posterior.has_density
    for count in (1, 3):
        x, y = examples(run, count)
        seen = np.asarray(run.examples(x, y).x)
        labels = () if y is None else (y.astype(np.int32),)
        z = made["encode"].call(own, seen, *labels)
        expected = run.encode(x, y)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            jax.tree.leaves(z),
            jax.tree.leaves(expected),
        )
        means = made["decode"].call(own, z, *labels)
        np.testing.assert_allclose(means, run.decode(expected, y), rtol=1e-4, atol=1e-5)
        if "log_likelihood" in made:
            found = made["log_likelihood"].call(own, seen, *labels, np.uint32(SEED))
            key = jax.random.key(SEED)
            itself = run.log_likelihood(x, y, num_samples=5, key=key).log_px
            np.testing.assert_allclose(found, itself, rtol=1e-4)


def test_log_likelihood_is_of_all_samples_over_several_chunks(tmp_path):
    run = untrained(tmp_path, "gaussian_mlp")
    count = 2 * CHUNK + 1
    x, _ = examples(run, 2)
    call = programs(run, count)["log_likelihood"].call
    found = call(weights(run), np.asarray(run.examples(x).x), np.uint32(SEED))
    key = jax.random.key(SEED)
    expected = run.log_likelihood(x, num_samples=count, key=key).log_px
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    fewer = run.log_likelihood(x, num_samples=count - 1, key=key).log_px
    assert not np.allclose(found, fewer, rtol=1e-5)


def test_standardised_numbers_are_in_the_units_of_the_data(tmp_path):
    units = Standardization(np.array([3.0, -1.0]), np.array([2.0, 5.0]))
    run = untrained(
        tmp_path,
        "gaussian_mlp",
        settings=("hidden=6", "latent_dim=3", "likelihood=diagonal_normal"),
        data_shape=(2,),
        protocol="reals",
        standardization=units,
    )
    made, own = programs(run, 5), weights(run)
    x = np.array([[1.0, 2.0], [7.0, -9.0]], np.float32)
    z = made["encode"].call(own, x)
    np.testing.assert_allclose(z, run.encode(x), rtol=1e-5)
    np.testing.assert_allclose(made["decode"].call(own, z), run.decode(z), rtol=1e-5)
    found = made["log_likelihood"].call(own, x, np.uint32(SEED))
    expected = run.log_likelihood(x, num_samples=5, key=jax.random.key(SEED)).log_px
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_an_export_is_read_where_vaejax_is_absent(tmp_path):
    pytest.importorskip("flatbuffers")
    pytest.importorskip("safetensors")
    train.run(tiny(tmp_path / "run"))
    out = export.run(
        export.Config(checkpoint=tmp_path / "run", out=tmp_path / "out", num_samples=20)
    )
    run = vaejax.load(tmp_path / "run")
    x, _ = examples(run, 4)
    np.save(out / "x.npy", np.asarray(run.examples(x).x))
    _, code = (out / "README.md").read_text().split("```python")
    program = f"""
import sys
for absent in ("vaejax", "experiments", "flax"):
    sys.modules[absent] = None
import numpy as np
x = np.load("x.npy")
{code.partition("```")[0]}
np.savez("found.npz", z=z, means=means, log_px=log_px)
"""
    subprocess.run([sys.executable, "-c", program], cwd=out, check=True)
    with np.load(out / "found.npz") as file:
        found = dict(file)
    np.testing.assert_allclose(found["z"], run.encode(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["means"], run.reconstruct(x), rtol=1e-5)
    expected = run.log_likelihood(x, num_samples=20, key=jax.random.key(0)).log_px
    np.testing.assert_allclose(found["log_px"], expected, rtol=1e-5)
    card = (out / "README.md").read_text()
    for part in (
        "digits",
        "dynamic",
        "elbo by dreg, K = 1",
        "Monte Carlo error",
        "jax",
    ):
        assert part in card
    with pytest.raises(VaejaxError, match="out is there: use --overwrite"):
        export.run(export.Config(checkpoint=tmp_path / "run", out=out))


def test_a_prior_of_the_training_data_is_refused(tmp_path):
    run = untrained(
        tmp_path,
        "gaussian_mlp",
        settings=(
            "hidden=6",
            "latent_dim=3",
            "prior=exemplar",
            "prior.num_components=3",
        ),
        exemplars=np.zeros((5, 4, 4, 1), np.float32),
    )
    with pytest.raises(VaejaxError, match="made of its training data"):
        programs(run)
