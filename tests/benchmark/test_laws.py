"""Exponents and ratios are where they say, as often as they say."""

import re

import numpy as np
import pytest

from vaejax.benchmark.laws import fit_slope, signal_to_noise
from vaejax.core import VaejaxError

SEEDS = range(200)
FOLDS, COORDINATES, PER_FOLD = 20, 50, 50
X = np.array([1.0, 3.0, 10.0, 30.0, 100.0])


def drawn(rng: np.random.Generator, snr: float) -> tuple[np.ndarray, np.ndarray]:
    """Fold means and variances of normal draws; SNR_i varies, its mean square does not.

    Variances differ from coordinate to coordinate, as those of gradients do.
    """
    scale = np.geomspace(0.1, 10, COORDINATES)
    shape = np.linspace(0.5, 1.5, COORDINATES)
    signal = snr * scale * shape / np.sqrt(np.mean(shape**2))
    size = FOLDS, COORDINATES
    means = signal + scale * rng.standard_normal(size) / np.sqrt(PER_FOLD)
    freedom = PER_FOLD - 1
    return means, scale**2 * rng.chisquare(freedom, size) / freedom


def coverage(slope: float, *, told: float = 1.0, true: float = -0.5) -> float:
    """The share of intervals of noisy points of x^true that hold `slope`.

    The errors that the fit is told of are `told` times the true ones.
    """
    held = 0
    for seed in SEEDS:
        relative = np.array([0.02, 0.05, 0.03, 0.1, 0.1])
        noise = np.random.default_rng(seed).standard_normal(len(X))
        y = 0.3 * X**true * (1 + relative * noise)
        fit = fit_slope(X, y, told * relative * 0.3 * X**true)
        held += fit.low <= slope <= fit.high
    return held / len(SEEDS)


def test_the_interval_of_a_slope_holds_it_95_times_in_100():
    assert 0.90 <= coverage(-0.5) <= 0.985
    assert coverage(-0.5 + 0.05) < 0.5  # it does not hold just any slope


def test_points_that_scatter_more_than_they_say_widen_the_interval():
    # Errors a third of the true ones: without widening it would hold in 49 of 100.
    assert coverage(-0.5, told=1 / 3) > 0.80


def test_the_slope_of_measured_ratios_is_covered_with_jackknifed_errors():
    held = {0.5: 0, 0.6: 0}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        ratios = [signal_to_noise(*drawn(rng, 0.02 * x**0.5)) for x in X]
        values, errors = np.array(ratios).T
        known = np.isfinite(values) & (errors < 0.2 * values)
        fit = fit_slope(X[known], values[known], errors[known], FOLDS)
        for slope in held:
            held[slope] += fit.low <= slope <= fit.high
    assert 0.90 <= held[0.5] / len(SEEDS) <= 0.985
    assert held[0.6] < 0.5 * len(SEEDS)


def test_the_ratio_has_no_noise_floor_and_the_plain_one_has():
    """Far below the floor of 1000 draws, sqrt(2 / (1000 pi)) = 0.025."""
    truth, squares, plain = 0.02, [], []
    for seed in SEEDS:
        means, variances = drawn(np.random.default_rng(seed), truth)
        ratio = signal_to_noise(means, variances).value
        squares.append(0.0 if np.isnan(ratio) else ratio**2)
        plain.append(np.mean(means.mean(0) ** 2 / variances.mean(0)))
    for values, is_right in ((squares, True), (plain, False)):
        z = (np.mean(values) - truth**2) / (np.std(values) / np.sqrt(len(SEEDS)))
        assert (abs(z) < 4) == is_right


def test_the_errors_of_a_ratio_are_what_they_say():
    for snr in (0.1, 3.0):  # the noise of the mean, and that of the variance
        ratios = np.array(
            [signal_to_noise(*drawn(np.random.default_rng(s), snr)) for s in SEEDS]
        )
        z = (ratios[:, 0] - snr) / ratios[:, 1]
        # The standard deviation of 200 z-scores is known to 5%, of t(19) to 7%.
        assert 0.8 < z.std() < 1.3
        assert abs(z.mean()) < 0.4


def test_a_ratio_of_no_signal_is_unknown_half_of_the_time():
    ratios = [signal_to_noise(*drawn(np.random.default_rng(s), 0.0)) for s in SEEDS]
    unknown = sum(np.isnan(ratio.value) for ratio in ratios)
    assert abs(unknown - 100) < 4 * np.sqrt(50)


def test_coordinates_that_never_vary_do_not_count():
    means, variances = drawn(np.random.default_rng(0), 0.3)
    more = np.pad(means, ((0, 0), (0, 7))), np.pad(variances, ((0, 0), (0, 7)))
    assert signal_to_noise(*more) == signal_to_noise(means, variances)


def test_errors_of_few_folds_widen_the_interval():
    """The normal distribution's interval would hold the slope in 90 of 100."""
    folds, held = 4, {4: 0, None: 0}
    noise = np.random.default_rng(0).standard_normal((2000, folds, 2))
    for draws in np.exp(0.1 * noise):
        stderr = draws.std(0, ddof=1) / np.sqrt(folds)
        for told in held:
            fit = fit_slope([1, 10], draws.mean(0), stderr, told)
            held[told] += fit.low <= 0 <= fit.high
    assert 0.94 <= held[folds] / 2000 <= 0.99
    assert held[None] / 2000 < 0.92


def test_exact_points_give_the_exact_slope():
    fit = fit_slope(X, 4 * X**-0.7, 0.01 * X**-0.7)
    assert fit.slope == pytest.approx(-0.7)
    assert fit.chi_square == pytest.approx(0, abs=1e-9)
    assert fit.degrees == 3
    # Two points have no scatter: the interval is that of their errors alone.
    two = fit_slope([1, np.e], [1, 1], [0.1, 0.1])
    assert two.high == pytest.approx(1.959964 * 0.1 * np.sqrt(2))


@pytest.mark.parametrize(
    ("x", "y", "stderr"),
    [
        ([1, 1], [1, 2], [1, 1]),
        ([1], [1], [1]),
        ([1, 2], [1, -1], [1, 1]),
        ([1, 2], [1, np.nan], [1, 1]),
        ([1, 2], [1, 1], [1, 0]),
        ([0, 2], [1, 1], [1, 1]),
    ],
)
def test_points_without_a_slope_are_refused(x, y, stderr):
    with pytest.raises(
        VaejaxError, match=r"finite values and errors above 0 at two places"
    ):
        fit_slope(x, y, stderr)


def test_too_few_folds_are_refused():
    with pytest.raises(
        VaejaxError, match=re.escape("2 folds give no standard error: use at")
    ):
        signal_to_noise(np.ones((2, 3)), np.ones((2, 3)))
