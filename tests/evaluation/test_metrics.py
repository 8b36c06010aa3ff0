"""Evaluation metrics on cases with known answers."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from vaejax.core import VaejaxError
from vaejax.evaluation import (
    auroc,
    clustering_accuracy,
    clustering_scores,
    linear_probe,
    mmd_test,
    npmi,
    psnr,
    ssim,
)

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 10, 5000)


def test_clusters_are_scored_whatever_their_numbers():
    permuted = RNG.permutation(10)[LABELS]
    np.testing.assert_allclose(clustering_scores(LABELS, permuted), 1)
    assert (permuted == LABELS).mean() < 0.5  # negative control: numbers do not match
    scores = clustering_scores(LABELS, RNG.integers(0, 10, 5000))
    # Largest of 10! chance agreements: above 1/10, but not by much.
    assert 0.1 < scores.accuracy < 0.15
    assert scores.normalized_mutual_information < 0.01
    assert abs(scores.adjusted_rand_index) < 0.005


def test_clustering_scores_by_hand():
    scores = clustering_scores(
        np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 0, 0, 0, 0])
    )
    assert scores.accuracy == pytest.approx(5 / 6)
    # Pairs together in both: 4, in the labels 6, in the clusters 7, of 15.
    assert scores.adjusted_rand_index == pytest.approx((4 - 2.8) / (6.5 - 2.8))
    h_clusters = -(np.log(1 / 3) / 3 + 2 * np.log(2 / 3) / 3)
    h_given = (-np.log(1 / 4) / 4 - 3 * np.log(3 / 4) / 4) * 2 / 3
    information = np.log(2) - h_given
    expected = 2 * information / (np.log(2) + h_clusters)
    assert scores.normalized_mutual_information == pytest.approx(expected)


def test_clusters_beyond_the_classes_are_errors():
    assert clustering_accuracy(LABELS, np.arange(5000)) == 10 / 5000
    assert clustering_accuracy(LABELS, np.zeros(5000, int)) == pytest.approx(
        np.bincount(LABELS).max() / 5000
    )


def test_a_linear_probe_finds_what_is_linear_and_no_more():
    codes = RNG.normal(size=(2000, 3)) * [1, 100, 1e-3]
    train, test = slice(1000), slice(1000, None)

    def probe(labels):
        return linear_probe(codes[train], labels[train], codes[test], labels[test])

    assert probe((codes[:, 2] > 0).astype(int)) > 0.95  # the smallest of the latents
    for hidden in (codes[:, 0] * codes[:, 1] > 0, RNG.random(2000) > 0.5):
        assert abs(probe(hidden.astype(int)) - 0.5) < 4 * np.sqrt(0.25 / 1000)
    with pytest.raises(VaejaxError, match="two classes or more"):
        probe(np.zeros(2000, int))


def test_auroc_counts_pairs():
    assert auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 3.5 / 4
    assert auroc(np.array([0.0]), np.array([np.inf, -np.inf])) == 1 / 2
    normal, anomalous = RNG.normal(size=300), RNG.normal(1, 1, size=200)
    pairs = (anomalous[:, None] > normal).mean()
    assert auroc(normal, anomalous) == pytest.approx(pairs)
    assert auroc(anomalous, normal) == pytest.approx(1 - pairs)
    with pytest.raises(VaejaxError, match="1 of them NaN"):
        auroc(normal, np.array([np.nan]))
    with pytest.raises(VaejaxError, match="with 0 anomalous"):
        auroc(normal, normal[:0])


def test_psnr_and_ssim_of_constant_images():
    a, b = (np.full((1, 16, 20, 2), value) for value in (0.5, 0.6))
    np.testing.assert_allclose(psnr(a, b), 20)  # -10 log10(0.1^2)
    assert psnr(a, a) == np.inf
    # Without variance the luminance alone: (2ab + C) / (a^2 + b^2 + C), C = 0.01^2.
    expected = (2 * 0.3 + 1e-4) / (0.25 + 0.36 + 1e-4)
    np.testing.assert_allclose(ssim(a, b), expected)


def test_ssim_sees_structure_where_psnr_does_not():
    image = RNG.random((1, 32, 32, 1))
    np.testing.assert_allclose(ssim(image, image), 1)
    brighter = image + 0.1
    noisy = image + RNG.choice([-0.1, 0.1], image.shape)
    np.testing.assert_allclose(psnr(brighter, image), psnr(noisy, image))
    assert ssim(brighter, image) > ssim(noisy, image)
    assert ssim(1 - image, image) < 0
    with pytest.raises(VaejaxError, match="8x8: use psnr"):
        ssim(image[:, :8, :8], image[:, :8, :8])


def test_npmi_by_hand():
    # Rows are documents; words 0 and 1 always meet, 0 and 2 never, 0 and 3 by chance;
    # word 4 is in every document, word 5 in none.
    counts = np.array(
        [[2, 1, 0, 1, 1, 0], [1, 3, 0, 0, 2, 0], [0, 0, 1, 1, 1, 0], [0, 0, 4, 0, 1, 0]]
    )

    def coherence(*words):
        topics = np.zeros((1, 6))
        topics[0, list(words)] = np.linspace(2, 1, len(words))
        return npmi(topics, counts, num_words=len(words))[0]

    pairs = {(0, 1): 1, (0, 2): -1, (0, 3): 0, (4, 0): 0, (0, 5): -1}
    for words, expected in pairs.items():
        assert coherence(*words) == pytest.approx(expected, abs=1e-12)
    assert coherence(0, 1, 3) == pytest.approx(1 / 3)
    third = np.array([[1, 1], [1, 1], [1, 0]])  # p = 1, 2/3; together 2/3
    assert npmi(np.ones((1, 2)), third, 2) == pytest.approx(0, abs=1e-12)
    partly = np.array([[1, 1], [1, 1], [1, 0], [0, 1], [0, 0], [0, 0]])
    expected = np.log((2 / 6) / (3 / 6) ** 2) / -np.log(2 / 6)
    assert npmi(np.ones((1, 2)), partly, 2) == pytest.approx(expected)
    always = np.ones((3, 2), int)
    assert npmi(np.ones((1, 2)), always, 2) == 1
    with pytest.raises(VaejaxError, match="use 2 to 6"):
        coherence(0)


def test_the_mmd_is_the_u_statistic():
    a, b = RNG.normal(size=(6, 2)), RNG.normal(1, 1, size=(9, 2))
    found = mmd_test(a, b)
    pooled = np.concatenate([a, b])
    apart = cdist(pooled, pooled)[np.triu_indices(15, 1)]
    assert found.bandwidth == pytest.approx(np.median(apart))

    def kernel(p, q):
        return np.exp(-cdist(p, q, "sqeuclidean") / (2 * found.bandwidth**2))

    expected = (
        (kernel(a, a).sum() - 6) / 30
        + (kernel(b, b).sum() - 9) / 72
        - 2 * kernel(a, b).mean()
    )
    assert found.squared_mmd == pytest.approx(expected)


def test_the_mmd_test_has_its_size_and_finds_differences():
    def repeat(count, **second):
        tests = [
            mmd_test(
                RNG.normal(size=(20, 2)),
                RNG.normal(size=(25, 2), **second),
                num_permutations=99,
                seed=i,
            )
            for i in range(count)
        ]
        return np.array([test[:2] for test in tests]).T

    count = 400
    statistics, p_values = repeat(count)
    assert abs(statistics.mean()) < 4 * statistics.std() / np.sqrt(count)
    for level in (0.05, 0.1, 0.5):
        rejected = (p_values <= level).mean()
        assert abs(rejected - level) < 4 * np.sqrt(level * (1 - level) / count)
    assert (repeat(20, loc=2)[1] == 0.01).all()
    assert np.median(repeat(20, scale=3)[1]) <= 0.02


def test_what_the_mmd_test_cannot_compare_is_refused():
    with pytest.raises(VaejaxError, match="two points or more"):
        mmd_test(np.zeros((1, 2)), np.ones((5, 2)))
    with pytest.raises(VaejaxError, match="median distance"):
        mmd_test(np.zeros((5, 2)), np.zeros((5, 2)))
