"""Disentanglement scores on codes whose scores are known."""

import itertools

import numpy as np
import pytest
from scipy.special import logsumexp

from vaejax.core import VaejaxError
from vaejax.evaluation import (
    beta_vae_score,
    dci,
    factor_vae_score,
    modularity,
    mutual_information_gap,
    separated_attribute_predictability,
    total_correlation_bound,
)
from vaejax.evaluation.disentanglement import _concentration, check_factors
from vaejax.evaluation.total_correlation import (
    FEWEST,
    FEWEST_SHUFFLES,
    donsker_varadhan,
)

pytestmark = pytest.mark.slow

SIZES = (3, 4, 5)
# Every combination equally often, so that the factors are exactly independent.
FACTORS = np.array(list(itertools.product(*map(range, SIZES))) * 40)
RNG = np.random.default_rng(0)
PERFECT = FACTORS[:, [2, 0, 1]] * [1.0, -3.0, 0.5]
RANDOM = RNG.normal(size=(len(FACTORS), 4))
ENTANGLED = np.array(list(itertools.product(range(4), range(4))) * 100)  # two factors


def rotated(factors):
    """Both latents say as much of both factors."""
    return factors @ np.array([[1.0, 1.0], [1.0, -1.0]])


def test_a_code_that_is_the_factors_is_perfect():
    assert mutual_information_gap(PERFECT, FACTORS) == pytest.approx(1)
    assert modularity(PERFECT, FACTORS) == pytest.approx(1)
    # The second best latent is right by chance, 1 / S.
    expected = np.mean([1 - 1 / size for size in SIZES])
    assert separated_attribute_predictability(PERFECT, FACTORS) == pytest.approx(
        expected
    )
    found = dci(PERFECT, FACTORS)
    np.testing.assert_allclose(found[:3], 1, atol=0.01)
    np.testing.assert_allclose(found.importance, np.eye(3)[[2, 0, 1]], atol=0.01)
    assert factor_vae_score(PERFECT, FACTORS) == 1
    assert beta_vae_score(PERFECT, FACTORS) == 1


def test_latents_that_do_not_vary_change_nothing_but_what_counts_them():
    codes = np.pad(PERFECT, ((0, 0), (0, 1)))
    assert mutual_information_gap(codes, FACTORS) == pytest.approx(1)
    assert factor_vae_score(codes, FACTORS) == 1
    assert dci(codes, FACTORS).disentanglement == pytest.approx(1, abs=0.01)
    assert modularity(codes, FACTORS) == pytest.approx(3 / 4)
    constant = np.zeros_like(PERFECT)
    assert mutual_information_gap(constant, FACTORS) == 0
    assert modularity(constant, FACTORS) == 0


def test_the_gap_of_a_factor_of_many_values_is_at_most_that_of_its_intervals():
    factor = np.repeat(np.arange(40), 50)[:, None]
    found = mutual_information_gap(1.0 * factor, factor)
    assert found == pytest.approx(np.log(20) / np.log(40))


def test_a_random_code_scores_as_chance_does():
    assert 0 <= mutual_information_gap(RANDOM, FACTORS) < 0.02
    assert 0 <= separated_attribute_predictability(RANDOM, FACTORS) < 0.05
    found = dci(RANDOM, FACTORS)
    assert found.disentanglement < 0.02
    assert found.completeness < 0.02
    assert found.informativeness == pytest.approx(
        np.mean([1 / s for s in SIZES]), abs=0.05
    )
    # 800 groups are scored, each right with probability 1/3.
    error = np.sqrt(2 / 9 / 800)
    for score in (factor_vae_score, beta_vae_score):
        assert abs(score(RANDOM, FACTORS) - 1 / 3) < 4 * error
    collapsed = factor_vae_score(1e-3 * PERFECT, FACTORS)
    assert abs(collapsed - 1 / 3) < 4 * error


def test_a_rotation_of_two_factors_is_entangled():
    codes = rotated(ENTANGLED)
    assert mutual_information_gap(codes, ENTANGLED) == pytest.approx(0, abs=1e-9)
    assert modularity(codes, ENTANGLED) == pytest.approx(0, abs=1e-9)
    assert separated_attribute_predictability(codes, ENTANGLED) < 0.05
    assert dci(codes, ENTANGLED).disentanglement < 0.1
    assert factor_vae_score(codes, ENTANGLED) < 0.6
    assert factor_vae_score(1.0 * ENTANGLED, ENTANGLED) == 1  # negative control


def test_one_latent_of_two_factors_is_complete_and_not_disentangled():
    both = 4.0 * ENTANGLED[:, 0] + ENTANGLED[:, 1]
    codes = np.stack([both, RNG.normal(size=len(both))], 1)
    found = dci(codes, ENTANGLED)
    assert found.disentanglement < 0.02
    assert found.completeness > 0.98
    assert found.informativeness > 0.99
    # Two latents of one factor each: disentangled and modular, but with no gap.
    doubled = np.repeat(1.0 * ENTANGLED, 2, axis=1)
    assert mutual_information_gap(doubled, ENTANGLED) == 0
    assert separated_attribute_predictability(doubled, ENTANGLED) == 0
    assert modularity(doubled, ENTANGLED) == pytest.approx(1)
    assert dci(doubled, ENTANGLED).disentanglement == pytest.approx(1, abs=0.01)


def test_the_concentration_of_shares_is_one_less_their_entropy():
    importance = np.array([[1.0, 0, 0, 0], [2, 2, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    np.testing.assert_allclose(_concentration(importance), [1, 0.5, 0, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("codes", "factors", "says"),
    [
        (PERFECT[1:], FACTORS, "2399 codes and 2400 rows"),
        (np.full_like(PERFECT, np.nan), FACTORS, "not finite"),
        (PERFECT, FACTORS * [1, 0, 1], r"factors \[1\] are the same"),
    ],
)
def test_what_cannot_be_scored_is_refused(codes, factors, says):
    with pytest.raises(VaejaxError, match=says):
        check_factors(codes, factors)


def test_modularity_needs_two_factors():
    with pytest.raises(VaejaxError, match="there is only one: use two or more"):
        modularity(PERFECT, FACTORS[:, :1])


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_bound_on_total_correlation_comes_near_a_normals(correlation):
    """The value for three coordinates: -1/2 log det of their correlations."""
    among = np.full((3, 3), correlation) + (1 - correlation) * np.eye(3)
    rng = np.random.default_rng(0)
    codes = rng.multivariate_normal(np.zeros(3), among, size=8000)
    truth = -0.5 * np.linalg.slogdet(among)[1]
    found = total_correlation_bound(codes * [1.0, 5.0, 0.1] + 3)
    assert found.value < truth + 4 * found.standard_error  # a bound
    assert found.value > 0.93 * truth - 4 * found.standard_error - 0.02
    assert found.standard_error < 0.05


def normal_log_ratio(among, power):
    """`power` times log q(z) / prod_j q(z_j) of a normal, and its bound on TC."""
    width = len(among)
    log_det = np.linalg.slogdet(among)[1]
    excess = np.linalg.inv(among) - np.eye(width)

    def log_ratio(z):
        return -0.5 * power * (log_det + np.einsum("ni,ij,nj->n", z, excess, z))

    log_mean = -0.5 * power * log_det
    log_mean -= 0.5 * np.linalg.slogdet(np.eye(width) + power * excess)[1]
    return log_ratio, -0.5 * power * log_det - log_mean


@pytest.mark.parametrize(
    ("width", "correlation", "power", "count"),
    [(2, 0.5, 1.0, 200), (3, 0.9, 1.0, 1000), (3, 0.9, 0.5, 1000), (6, 0.5, 0.5, 500)],
)
def test_the_error_of_the_bound_covers_what_one_log_ratio_has(
    width, correlation, power, count
):
    """95% intervals, in 400 draws of the codes; z within 3 of 95%."""
    among = np.full((width, width), correlation) + (1 - correlation) * np.eye(width)
    log_ratio, truth = normal_log_ratio(among, power)
    rng = np.random.default_rng(0)
    found, apart = [], []
    for _ in range(400):
        codes = rng.multivariate_normal(np.zeros(width), among, size=count)
        found.append(donsker_varadhan(log_ratio, codes, rng, 10))
        means = [
            logsumexp(log_ratio(rng.permuted(codes, axis=0))) - np.log(count)
            for _ in range(10)
        ]
        apart.append(log_ratio(codes).var() / count + np.var(means) / 10)
    values, errors = np.transpose(found)
    limit = 3 * np.sqrt(0.95 * 0.05 / 400)
    assert abs(np.mean(abs(values - truth) < 1.96 * errors) - 0.95) < limit
    # The control takes shuffles of one set of codes as independent of its mean.
    if (width, power) == (3, 0.5):
        covered = np.mean(abs(values - truth) < 1.96 * np.sqrt(apart))
        assert covered < 0.95 - 3 * limit


@pytest.mark.parametrize(("width", "correlation"), [(2, 0.5), (5, 0.3)])
def test_the_fewest_codes_and_shuffles_cover_in_more_than_90_percent(
    width, correlation
):
    """The half is drawn 1000 times; 20 codes and 2 shuffles cover less."""
    among = np.full((width, width), correlation) + (1 - correlation) * np.eye(width)
    log_ratio, truth = normal_log_ratio(among, 1.0)
    rng = np.random.default_rng(1)

    def coverage(count, num_shuffles):
        codes = rng.multivariate_normal(np.zeros(width), among, size=(1000, count))
        found = [donsker_varadhan(log_ratio, one, rng, num_shuffles) for one in codes]
        values, errors = np.transpose(found)
        return np.mean(abs(values - truth) < 1.96 * errors)

    assert coverage(FEWEST // 2, FEWEST_SHUFFLES) > 0.9
    assert coverage(20, 2) < 0.9


def test_total_correlation_is_of_several_codes_and_coordinates():
    for shape in ((900, 1), (FEWEST - 1, 2)):
        with pytest.raises(
            VaejaxError, match=r"was given codes of shape \(.*: use more"
        ):
            total_correlation_bound(RNG.normal(size=shape))
    assert np.isfinite(total_correlation_bound(RNG.normal(size=(FEWEST, 2))).value)
    with pytest.raises(VaejaxError, match="num_shuffles is 4: use at least 5"):
        total_correlation_bound(RNG.normal(size=(FEWEST, 2)), num_shuffles=4)
