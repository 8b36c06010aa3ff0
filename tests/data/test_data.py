"""Data sets and protocols: splits that do not move, pixels with the right odds."""

import hashlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from vaejax.core import UnknownNameError, VaejaxError
from vaejax.data import DATASETS, PROTOCOLS, DataError, load
from vaejax.data.binarization import bernoulli_thresholds, sample_bernoulli
from vaejax.data.splits import fixed_order

GREYS = np.arange(256, dtype=np.uint8)


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


def test_every_registered_set_describes_itself():
    for name, factory in DATASETS.items():
        info = factory()
        assert info.name == name
        assert len(info.shape) in (1, 3)
        assert info.splits[0] == "train"
        assert info.splits[-1] == "test"
        assert set(info.protocols) <= set(PROTOCOLS)


def test_digits_are_split_as_they_always_were():
    pinned = {"train": "e2dcf00dd4e323a0", "test": "5cd0c1c29b8ec147"}
    data = {split: load("digits", split, protocol="none") for split in pinned}
    for split, start in pinned.items():
        assert digest(data[split].images, data[split].labels).startswith(start)
    assert data["train"].images.shape == (1438, 8, 8, 1)
    assert data["test"].images.shape == (359, 8, 8, 1)
    assert data["train"].images.max() == 255
    parts = [np.bincount(data[split].labels) for split in pinned]
    np.testing.assert_allclose(parts[1] / sum(parts), 0.2, atol=0.005)


def test_data_print_as_a_line():
    train = load("digits", "train")
    shown = "images uint8[1438, 8, 8, 1], labels int32[1438], protocol dynamic"
    assert str(train) == f"ImageData({shown})"


def test_fixed_order_is_a_permutation_that_never_changes():
    order = fixed_order("frey_faces", 1965)
    assert sorted(order) == list(range(1965))
    assert order[:5].tolist() == [563, 1854, 1480, 1137, 178]


def test_thresholds_are_the_rounded_probabilities():
    thresholds = np.asarray(bernoulli_thresholds(jnp.asarray(GREYS)))
    np.testing.assert_array_equal(thresholds, np.rint(GREYS / 255 * 65536))
    assert thresholds[0] == 0
    assert thresholds[255] == 65536


def largest_z(probability: np.ndarray) -> float:
    """Compare 2^15 draws of every intensity with `probability`, in standard errors."""
    keys = jax.random.split(jax.random.key(0), 2**15)
    images = jnp.asarray(GREYS)
    counts = jax.jit(lambda k: jax.vmap(sample_bernoulli, (0, None))(k, images).sum(0))
    n, p = len(keys), probability[1:255]
    draws = np.asarray(counts(keys))
    assert draws[0] == 0
    assert draws[255] == n
    return float(np.max(np.abs(draws[1:255] - n * p) / np.sqrt(n * p * (1 - p))))


def test_dynamic_pixels_are_one_with_probability_of_their_intensity():
    limit = norm.isf(1e-4 / (2 * 254))  # Bonferroni over 254 intensities
    assert largest_z(GREYS / 255) < limit
    # Negative controls: the wrong divisor, and one grey level off.
    assert largest_z(GREYS / 256) > limit
    assert largest_z((GREYS + 1.0).clip(max=254.5) / 255) > limit


@pytest.mark.parametrize("shape", [(1,), (3, 5, 1)])
def test_both_halves_of_a_word_are_independent_pixels(shape):
    keys = jax.random.split(jax.random.key(1), 2**14)
    image = jnp.full(shape, 128, jnp.uint8)
    draws = jax.vmap(sample_bernoulli, (0, None))(keys, image).reshape(2**14, -1)
    assert set(np.unique(draws)) == {0.0, 1.0}
    if draws.shape[1] > 1:
        correlation = np.corrcoef(np.asarray(draws).T) - np.eye(draws.shape[1])
        assert np.abs(correlation).max() < 6 / np.sqrt(len(keys))


def test_dynamic_training_images_differ_between_keys_and_evaluation_images_do_not():
    image = load("digits").images[0]
    sample = PROTOCOLS["dynamic"].sample
    first, second = (sample(jax.random.key(k), jnp.asarray(image)) for k in (0, 1))
    assert (first != second).any()
    fixed = [load("digits", "test").observations(seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(fixed[0], fixed[1])
    assert (fixed[0] != fixed[2]).any()
    assert set(np.unique(fixed[0])) == {0, 1}
    assert fixed[0].dtype == jnp.float32


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_protocols_keep_shape_and_range(name, seed):
    protocol = PROTOCOLS[name]
    images = np.arange(2 if name == "static" else 256, dtype=np.uint8).reshape(-1, 2, 1)
    fixed = protocol.fix(images, seed)
    assert fixed.dtype == (np.float32 if name == "dequantized" else np.uint8)
    training = protocol.sample(jax.random.key(seed), jnp.asarray(images))
    evaluation = protocol.as_float(jnp.asarray(fixed))
    for x in (training, evaluation):
        assert x.dtype == jnp.float32
        assert x.shape == images.shape
        if name == "dequantized":  # each in its level's cell
            assert ((images / 256 <= x) & (x <= (images + 1.0) / 256)).all()
        else:
            assert x.min() == 0
            assert x.max() == (255 if name in ("counts", "reals") else 1)
    if name not in ("dynamic", "dequantized"):  # whose noise is drawn anew
        np.testing.assert_array_equal(training, evaluation)


def test_dequantized_pixels_are_uniform_in_their_cells():
    images = np.resize(GREYS, (2**14, 1, 1))
    fixed = PROTOCOLS["dequantized"].fix(images, 0)
    noise = (256 * fixed.astype(float) - images).reshape(-1)
    assert kstest(noise, "uniform").pvalue > 1e-3
    # Noise of half a level would be seen.
    assert kstest(noise / 2, "uniform").pvalue < 1e-3


@pytest.mark.parametrize("protocol", DATASETS["digits"]().protocols)
def test_images_are_grey_and_observations_are_not_in_every_split(protocol):
    for split in ("train", "test"):
        data = load("digits", split, protocol=protocol)
        assert data.images.max() == 255
        x = data.observations()
        assert x.shape == data.images.shape
        assert x.max() <= 1
        assert len(np.unique(x)) == 2 or protocol in ("none", "dequantized")
        chosen = np.array([3, 1])
        np.testing.assert_array_equal(data.observations(rows=chosen), x[chosen])
    with pytest.raises(DataError, match="no protocol"):
        data._replace(protocol=None).observations()


@pytest.mark.parametrize("name", ["dynamic", "threshold", "none", "dequantized"])
def test_protocols_refuse_what_is_no_intensity(name):
    """Numbers from 0 to 1 would be taken for the darkest intensities."""
    image = jnp.full((2, 2, 1), 0.5)
    with pytest.raises(VaejaxError, match=r"dtype uint8 .* given float32"):
        PROTOCOLS[name].sample(jax.random.key(0), image)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (
            {"name": "mnits"},
            UnknownNameError,
            "did you mean 'mnist' or .* Use one of .*digits.*mnist, mnist_70k",
        ),
        (
            {"name": "digits", "split": "validation"},
            UnknownNameError,
            "test, train",
        ),
        ({"name": "mnist", "protocol": "x"}, UnknownNameError, "dynamic, .*static"),
        ({"name": "mnist", "protocol": "static"}, DataError, "set binarized_mnist"),
        (
            {"name": "binarized_mnist", "protocol": "dynamic"},
            DataError,
            "already 0 and 1",
        ),
    ],
)
def test_load_refuses_with_what_is_known_or_what_to_do(arguments, error, says):
    with pytest.raises(error, match=says):
        load(**arguments)


def test_load_without_preparation_gives_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    command = f"experiments.prepare_data kmnist --data-dir {tmp_path}"
    with pytest.raises(DataError, match=command) as caught:
        load("kmnist")
    assert str(tmp_path / "kmnist") in str(caught.value)


def test_importing_the_data_layer_imports_no_tfds():
    code = (
        "import sys, vaejax, vaejax.data; "
        "heavy = {'tensorflow_datasets', 'tensorflow', 'cv2', 'matplotlib'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
