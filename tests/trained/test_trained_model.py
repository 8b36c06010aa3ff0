"""A trained model gives what the library's functions give, in the data's own units."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run_folders import KEY, untrained
from scipy.stats import multivariate_normal

import vaejax
from vaejax import Example, VaejaxError
from vaejax.data import ImageData, Standardization
from vaejax.models.vade import cluster_log_probs
from vaejax.trained import Recipe, batches, read_recipe, units, write_recipe

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
TABLE = RNG.normal([10.0, -3.0], [2.0, 0.1], (6, 2)).astype(np.float32)
UNITS = Standardization(np.array([10.0, -3.0]), np.array([2.0, 0.1]))


def image_recipe(protocol: str) -> Recipe:
    return Recipe(model="gaussian_mlp", data_shape=(4, 4, 1), protocol=protocol)


def table(folder: Path) -> vaejax.TrainedModel:
    return untrained(
        folder,
        "linear_gaussian",
        settings=("latent_dim=1",),
        data_shape=(2,),
        protocol="reals",
        standardization=UNITS,
    )


@pytest.mark.parametrize("protocol", ["dynamic", "threshold", "none", "dequantized"])
def test_stored_intensities_are_seen_as_in_evaluation(protocol):
    recipe = image_recipe(protocol)
    data = ImageData(GREY, None, protocol=protocol)
    for seed in (0, 3):
        x = units.observed(recipe, GREY, seed)
        np.testing.assert_array_equal(x, data.observations(seed))
        # Grey levels and integers of any width are the same intensities.
        for same in (GREY / 255, (GREY / 255).astype(np.float32), GREY.astype(int)):
            again = units.observed(recipe, same, seed)
            np.testing.assert_allclose(again, x, rtol=1e-6)
        np.testing.assert_array_equal(units.observed(recipe, GREY[..., 0], seed), x)
    drawn = protocol in ("dynamic", "dequantized")
    others = units.observed(recipe, GREY, 1)
    assert bool((others != units.observed(recipe, GREY, 0)).any()) == drawn


@pytest.mark.parametrize("protocol", ["dynamic", "threshold", "none"])
def test_bits_stay_bits(protocol):
    bits = GREY > 127
    for given in (bits, bits.astype(float)):
        x = units.observed(image_recipe(protocol), given, 0)
        np.testing.assert_array_equal(x, bits)


def test_what_a_run_returns_is_in_the_datas_own_units():
    recipe = image_recipe("dequantized")
    x = units.observed(recipe, GREY, 0)
    back = units.in_own_units(recipe, np.asarray(x))
    np.testing.assert_array_equal(np.rint(255 * back), GREY)
    own = Recipe(
        model="gaussian_mlp",
        data_shape=(2,),
        protocol="reals",
        standardization=UNITS,
    )
    seen = np.asarray(units.observed(own, TABLE, 0))
    assert abs(seen).max() < 5
    np.testing.assert_allclose(units.in_own_units(own, seen), TABLE, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (GREY[0], r"\[N, 4, 4, 1\].*x\[None\]"),
        (GREY[:0], "one or more examples"),
        (GREY[:, :3], "of shape"),
        (GREY.astype(float), "floats are grey levels from 0 to 1"),
        (-GREY.astype(int), "integers are intensities from 0 to 255"),
        (GREY // 255, "the integers 0 and 1 alone"),
        (GREY / 255 + np.nan, "holds nan"),
        (GREY.astype("U3"), "dtype <U3"),
        (["a"], "dtype <U1"),
    ],
)
def test_values_that_are_none_of_the_data_are_refused(x, message):
    with pytest.raises(VaejaxError, match=message):
        units.observed(image_recipe("dynamic"), x, 0)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_recipe_is_read_as_it_was_written(seeds, tmp_path):
    recipe = Recipe(
        model="m2",
        settings=("latent_dim=2",),
        data_shape=(2,),
        protocol="reals",
        num_seeds=seeds,
        class_names=("a", "b"),
        columns=(vaejax.data.Column("size", "reals"),),
        standardization=UNITS,
        data_mean=np.zeros(2),
    )
    write_recipe(tmp_path, recipe, versions={"vaejax": "0"})
    again = read_recipe(tmp_path)
    for name, value in vars(recipe).items():
        jax.tree.map(np.testing.assert_array_equal, getattr(again, name), value)


@pytest.mark.parametrize("name", ["model.json", "model.npz", "config.json"])
def test_a_damaged_or_missing_file_is_one_sentence(name, tmp_path):
    untrained(tmp_path, "bernoulli_toy")
    path = tmp_path / name
    for damage in (b"", b"{", b"PK\x03\x04damage", b"[1]", b"\xff\xfe"):
        path.write_bytes(damage)
        with pytest.raises(VaejaxError, match=r"damaged.*restore"):
            vaejax.load(tmp_path)
    path.unlink()
    with pytest.raises(VaejaxError, match=f"{name}.*experiments.train wrote"):
        vaejax.load(tmp_path)


def test_a_folder_that_holds_no_run_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(VaejaxError, match="name the folder of a run"):
            vaejax.load(folder)


@pytest.mark.usefixtures("untyped")
def test_each_seed_is_a_model(tmp_path):
    run = untrained(tmp_path, "gaussian_mlp", num_seeds=3)
    assert list(run.seeds) == [0, 1, 2]
    other = vaejax.load(tmp_path, seed=2)
    pairs = zip(*map(jax.tree.leaves, (run.params, other.params)), strict=True)
    assert any((a != b).any() for a, b in pairs)
    x = run.examples(GREY)
    expected = jax.vmap(lambda x: run.model.encode(other.params, Example(x)).loc)(x.x)
    np.testing.assert_allclose(other.encode(GREY), expected, rtol=1e-5, atol=1e-6)
    for seed in (3, -1, 0.5, "0"):
        with pytest.raises(VaejaxError, match="use an integer from 0 to 2"):
            vaejax.load(tmp_path, seed=seed)


def test_results_do_not_depend_on_the_batches(tmp_path, monkeypatch):
    run = untrained(tmp_path, "gaussian_mlp")
    x = np.concatenate([GREY] * 3)

    def everything() -> list[np.ndarray]:
        return [
            run.encode(x),
            run.encode(x, what="sample", key=KEY),
            run.sample(KEY, 13, what="sample"),
            run.reconstruct(x),
        ]

    whole = everything()
    monkeypatch.setattr(batches, "LARGEST", 4)
    for a, b in zip(whole, everything(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_batch_fits_the_memory_budget(tmp_path, monkeypatch):
    run = untrained(tmp_path, "gaussian_mlp")
    sizes = []
    mapped = batches._mapped
    monkeypatch.setattr(
        batches,
        "_mapped",
        lambda one, static, params, rows: (
            sizes.append(len(jax.tree.leaves(rows)[0]))
            or mapped(one, static, params, rows)
        ),
    )
    run.reconstruct(GREY)
    monkeypatch.setattr(batches, "BUDGET", 2_000)  # bytes: of a few rows
    run.reconstruct(GREY)
    monkeypatch.setattr(batches, "BUDGET", 1)
    run.reconstruct(GREY)
    assert sizes[0] == 8
    assert 1 < max(sizes[1:-5]) < 5
    assert sizes[-5:] == [1] * 5


def test_log_likelihood_of_standardised_data_is_that_of_the_datas_own_units(tmp_path):
    run = table(tmp_path)
    found = run.log_likelihood(TABLE, num_samples=20_000, key=KEY)
    weight, bias, scale = (
        np.asarray(run.params.decoder[name], float)
        for name in ("weight", "bias", "log_scale")
    )
    cov = weight @ weight.T + np.exp(2 * scale) * np.eye(2)
    own = np.diag(UNITS.scale)
    exact = multivariate_normal(
        UNITS.mean + UNITS.scale * bias, own @ cov @ own
    ).logpdf(TABLE)
    z = (found.log_px - exact) / found.monte_carlo_error
    assert abs(z).max() < 4
    wrong = found.log_px - exact + np.log(UNITS.scale).sum()  # without the Jacobian
    assert abs(wrong / found.monte_carlo_error).min() > 4


def test_interpolation_ends_at_the_reconstructions(tmp_path):
    run = untrained(tmp_path, "gaussian_mlp", protocol="threshold")
    lines = run.interpolate(GREY, GREY[::-1], steps=3)
    ends = run.reconstruct(GREY)
    np.testing.assert_allclose(lines[:, 0], ends, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lines[:, 2], ends[::-1], rtol=1e-5, atol=1e-6)
    middle = run.decode((run.encode(GREY) + run.encode(GREY[::-1])) / 2)
    np.testing.assert_allclose(lines[:, 1], middle, rtol=1e-5, atol=1e-6)
    with pytest.raises(VaejaxError, match="steps is 1"):
        run.interpolate(GREY, GREY, steps=1)
    with pytest.raises(VaejaxError, match="one row of each"):
        run.interpolate(GREY, GREY[:2])


def test_vade_classifies_by_the_clusters_of_its_prior(tmp_path):
    run = untrained(tmp_path, "vade")
    found = run.classify(GREY)
    expected = jax.vmap(cluster_log_probs, (None, 0))(
        run.params, jnp.asarray(run.encode(GREY))
    )
    np.testing.assert_allclose(found, np.exp(expected), rtol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_m2_classifies_by_its_posterior_and_names_are_labels(tmp_path):
    run = untrained(tmp_path, "m2", class_names=("cat", "dog"))
    np.testing.assert_allclose(run.classify(GREY), run.encode(GREY).y, rtol=1e-5)
    names = ["dog", "cat", "cat", "dog", "cat"]
    told = run.encode(GREY, names).y
    np.testing.assert_allclose(told.argmax(1), [1, 0, 0, 1, 0])
    with pytest.raises(VaejaxError, match="unknown class 'cow'"):
        run.encode(GREY, ["cow"] * 5)


def test_a_conditional_model_samples_the_class_that_is_asked_for(tmp_path):
    run = untrained(tmp_path, "conditional_vae")
    each, all_one = run.sample(KEY, 2, [0, 1]), run.sample(KEY, 2, 1)
    np.testing.assert_array_equal(each[1], all_one[1])
    assert (each[0] != all_one[0]).any()
    with pytest.raises(VaejaxError, match="labels y from 0 to 1"):
        run.sample(KEY, 2)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.encode(GREY, what="mode"), "what is 'mode'"),
        (lambda run: run.encode(GREY, what="sample", key=0), "key is the integer 0"),
        (lambda run: run.decode(np.zeros((2, 4))), r"z is of shape \(2, 4\)"),
        (lambda run: run.decode(np.zeros((0, 3))), "z is empty"),
        (lambda run: run.decode(np.full((2, 3), np.nan)), "not finite"),
        (lambda run: run.decode((np.zeros((2, 3)),) * 2), "z"),
        (lambda run: run.decode("codes"), "z is of shape"),
        (lambda run: run.sample(KEY, 0), "n is 0"),
        (lambda run: run.sample(None, 2), "key is a NoneType"),
        (lambda run: run.sample(KEY, 2, what="params"), "use mean or sample"),
        (lambda run: run.anomaly_score(GREY, score="loss"), "score is 'loss'"),
        (lambda run: run.log_likelihood(GREY, num_samples=0), "num_samples is 0"),
        (lambda run: run.classify(GREY), "gaussian_mlp has no classes"),
    ],
)
def test_a_mistake_is_one_sentence(call, message, tmp_path):
    with pytest.raises(VaejaxError, match=message) as caught:
        call(untrained(tmp_path, "gaussian_mlp"))
    assert "\n" not in str(caught.value)


def test_a_run_is_used_without_data_and_without_experiments(tmp_path):
    run = untrained(tmp_path, "gaussian_mlp")
    np.savez(tmp_path / "x.npz", x=GREY, z=run.encode(GREY))
    code = f"""
import sys
import numpy as np
import vaejax
given = np.load({str(tmp_path / "x.npz")!r})
run = vaejax.load({str(tmp_path)!r})
np.testing.assert_allclose(run.encode(given["x"]), given["z"], rtol=1e-5, atol=1e-6)
assert "experiments" not in sys.modules
assert "tensorflow_datasets" not in sys.modules
"""
    root = str(Path(vaejax.__file__).parent.parent)
    environment = {"PYTHONPATH": root, "TFDS_DATA_DIR": "/nowhere", "PATH": "/nowhere"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
