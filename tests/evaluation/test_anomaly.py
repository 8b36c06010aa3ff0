"""Anomaly scores: what each is, and what is left out of the training of a model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.config import Config
from experiments.training.run import check, prepare
from experiments.training.split import training_split
from vaejax import Example, VaejaxError, log_likelihood
from vaejax.data import ImageData, load
from vaejax.evaluation import anomaly_scores, compressed_bits, expected_log_px_z
from vaejax.families import NormalParams
from vaejax.models import gaussian_mlp, linear_gaussian

KEY = jax.random.key(0)
CONFIG = Config(dataset="digits", model_settings=("latent_dim=2", "hidden=8"))


def test_expected_log_px_z_is_exact_within_its_error():
    """For q = N(m, s^2) and p(x|z) = N(W z + b, v): with a = x - b - W m,

    E_q log p(x|z) = -(D log(2 pi v) + (|a|^2 + tr(W diag(s^2) W^T)) / v) / 2.
    """
    model = linear_gaussian((4,), latent_dim=2)
    params = model.init(KEY)
    x = jax.random.normal(KEY, (50, 4))
    num_samples = 4000
    found = expected_log_px_z(
        model, params, Example(x), jax.random.key(1), num_samples=num_samples
    )
    q: NormalParams = jax.vmap(lambda one: model.encode(params, Example(one)))(x)
    weight = np.asarray(params.decoder["weight"])
    residual = np.asarray(x - q.loc @ weight.T)  # b = 0 and v = 1 at the start
    scale = np.exp(np.asarray(q.log_scale))
    moved = weight[None] * scale[:, None]  # of a unit of noise in each latent
    expected = -0.5 * (
        4 * np.log(2 * np.pi) + (residual**2).sum(1) + (moved**2).sum((1, 2))
    )
    slope = np.einsum("nd,ndz->nz", residual, moved)
    inner = np.einsum("ndz,ndy->nzy", moved, moved)
    variance = (slope**2).sum(1) + (inner**2).sum((1, 2)) / 2
    z = (found - expected) / np.sqrt(variance / num_samples)
    assert abs(z.mean()) < 5 / np.sqrt(50)
    assert abs(z.std() - 1) < 5 / np.sqrt(2 * 50)
    # Negative control: at the mean of q it is another number.
    at_mean = -0.5 * (4 * np.log(2 * np.pi) + (residual**2).sum(1))
    assert abs(((found - at_mean) / np.sqrt(variance / num_samples)).mean()) > 5


def test_the_scores_are_what_they_are_called():
    model = gaussian_mlp((8, 8, 1), latent_dim=2, hidden=(8,))
    params = model.init(KEY)
    # A background of other brightness: log p_0 and log p are nats apart.
    other = params._replace(decoder=jax.tree.map(lambda w: w + 0.1, params.decoder))
    noise = jax.random.bernoulli(KEY, 0.5, (3, 8, 8, 1)).astype(jnp.float32)
    examples = Example(noise.at[0].set(0.0))  # the first is blank

    found = anomaly_scores(
        model, params, examples, KEY, background=(model, other), num_samples=500
    )
    bits = compressed_bits(np.asarray(examples.x), 2)
    np.testing.assert_allclose(
        found.complexity_corrected,
        found.negative_log_likelihood / np.log(2) - bits,
        rtol=1e-4,
    )
    assert bits[0] < min(bits[1:])

    def from_log_ratio_to(background):
        log_p0 = log_likelihood(model, background, examples, KEY, num_samples=500)
        log_ratio = log_p0.log_px + found.negative_log_likelihood
        error = np.sqrt(2) * log_p0.monte_carlo_error  # of two estimates
        return np.abs(found.likelihood_ratio - log_ratio) / error

    assert from_log_ratio_to(other).max() < 5
    assert from_log_ratio_to(params).max() > 10  # or the test could not fail
    grey = gaussian_mlp((8, 8, 1), likelihood="diagonal_normal")
    with pytest.raises(VaejaxError, match="no levels to compress"):
        anomaly_scores(grey, params, examples, KEY, background=(grey, params))
    with pytest.raises(VaejaxError, match="diagonal_normal has other outcomes"):
        anomaly_scores(model, params, examples, KEY, background=(grey, params))


def test_compressed_bits_count_what_is_written():
    x = np.random.default_rng(0).integers(256, size=(2, 16, 16, 1)) / 255
    x[1] = 1.0
    noise, blank = compressed_bits(x, 256)
    assert 8 * 256 <= noise < 8 * 256 * 1.1  # bytes of noise are not to be compressed
    assert blank < 0.1 * noise
    # At 16 bits nothing wraps: levels 256 apart are as different as any others.
    deep = np.random.default_rng(0).integers(256, size=(1, 16, 16, 1)) * 256 / 65535
    assert 8 * 256 <= compressed_bits(deep, 65536) < 8 * 512
    with pytest.raises(VaejaxError, match="2 bytes"):
        compressed_bits(x, 65537)
    for wrong in (255 * x, np.full_like(x, np.nan)):
        with pytest.raises(VaejaxError, match="divide intensities"):
            compressed_bits(wrong, 256)


def test_a_class_is_left_out_of_the_training_split_alone():
    whole = prepare(CONFIG).data
    data = prepare(dataclasses.replace(CONFIG, without_class=3)).data
    stored = load("digits")
    np.testing.assert_array_equal(data.train.x, stored.images[stored.labels != 3])
    np.testing.assert_array_equal(data.test.x, whole.test.x)
    assert (data.test_labels == 3).any()
    for missing in (10, -1):
        with pytest.raises(VaejaxError, match=r"without.class is .* use"):
            prepare(dataclasses.replace(CONFIG, without_class=missing))
    config = dataclasses.replace(CONFIG, without_class=3)
    with pytest.raises(VaejaxError, match="no labels"):
        training_split(config, ImageData(stored.images, None), "dynamic")


@pytest.mark.parametrize(("protocol", "levels"), [("dynamic", 256), ("static", 2)])
def test_mutated_pixels_are_as_many_as_asked_and_uniform(protocol, levels):
    images = np.zeros((500, 8, 8, 1), np.uint8)
    config = dataclasses.replace(CONFIG, mutation_rate=0.3)
    mutated = training_split(config, ImageData(images, None), protocol).images
    drawn = mutated[mutated > 0]
    share = 0.3 * (1 - 1 / levels)  # the others are mutated to 0 again
    error = np.sqrt(share * (1 - share) / images.size)
    assert abs(len(drawn) / images.size - share) < 5 * error
    assert drawn.max() == levels - 1
    spread = (levels - 1) / np.sqrt(12 * len(drawn))
    assert abs(drawn.mean() - levels / 2) < 5 * spread + 1e-9
    again = training_split(config, ImageData(images, None), protocol).images
    np.testing.assert_array_equal(mutated, again)
    for rate in (0.0, 1.5):
        with pytest.raises(VaejaxError, match="--mutation-rate is"):
            check(dataclasses.replace(config, mutation_rate=rate))


def test_words_are_kept_where_a_class_is_left_out_and_counts_are_not_mutated():
    labels, words = np.array([0, 1]), ("ape", "bat", "cat")
    counts = ImageData(np.ones((2, 3), np.uint16), labels, words=words)
    config = dataclasses.replace(CONFIG, without_class=1)
    kept = training_split(config, counts, "counts")
    assert kept.words == words
    assert kept.labels.tolist() == [0]
    with pytest.raises(VaejaxError, match="has counts: leave it out"):
        training_split(dataclasses.replace(config, mutation_rate=0.2), counts, "counts")
