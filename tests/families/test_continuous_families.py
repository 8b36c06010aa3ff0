"""Continuous families: implicit derivatives and extreme parameters."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from family_cases import CASES

from vaejax.core import VaejaxError
from vaejax.families import (
    BetaParams,
    FullNormalParams,
    GammaParams,
    NormalParams,
    beta,
    dirichlet,
    full_normal,
    gamma,
    logit_normal,
    truncated_normal,
)

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)


# Compiled once for all the cases of a test, which differ in numbers only.


@jax.jit
def gamma_derivatives(params, tangents):
    return jax.jvp(lambda params: gamma().sample(KEY, params), (params,), (tangents,))


@jax.jit
def truncated_sample(params):
    return truncated_normal().sample(KEY, params)


@jax.jit
def truncated_derivatives(params, tangents):
    return jax.jvp(truncated_sample, (params,), (tangents,))[1]


@jax.jit
@jax.value_and_grad
def truncated_pathwise(params):
    z = truncated_normal().sample(KEY, params)
    return z.sum() + truncated_normal().log_prob(params, z)


truncated_mean = jax.jit(truncated_normal().mean)


# Implicit derivatives: dz/dtheta = -(dF/dtheta) / p(z), in float64.


@pytest.mark.parametrize("concentration", [1e-2, 0.3, 1.0, 30.0, 1e3])
def test_a_gamma_sample_has_the_derivative_of_its_quantile(concentration):
    draws = 100
    with jax.enable_x64(True):
        params = GammaParams(
            jnp.full(draws, np.log(concentration)), jnp.full(draws, np.log(2.0))
        )
        ones = jnp.ones(draws)
        z, by_shape = gamma_derivatives(params, GammaParams(ones, 0 * ones))
        _, by_rate = gamma_derivatives(params, GammaParams(0 * ones, ones))
    z, by_shape = np.asarray(z), np.asarray(by_shape)
    np.testing.assert_allclose(by_rate, -z, rtol=1e-12)
    # At a fixed z, as scipy's quantiles lose digits near the ends.
    step = 1e-5 * concentration
    above, below = (
        scipy.stats.gamma.cdf(z, concentration + s, scale=0.5) for s in (step, -step)
    )
    slope = -(above - below) / (2 * step)
    slope *= concentration / scipy.stats.gamma.pdf(z, concentration, scale=0.5)
    seen = z > 1e-290  # below, scipy's density overflows
    assert seen.mean() > 0.9
    np.testing.assert_allclose(by_shape[seen], slope[seen], rtol=1e-4)
    # The derivative of another concentration would be seen.
    assert np.abs(1.01 * by_shape[seen] / slope[seen] - 1).min() > 1e-4


@pytest.mark.parametrize("concentration", [1e-2, 0.3, 1.0, 30.0, 1e3])
def test_a_float32_gamma_sample_has_the_derivative_of_float64(concentration):
    log_a = jnp.full(200, np.log(concentration))
    log_gamma = sys.modules["vaejax.families.gamma"]._with_implicit_gradient
    log_z = jax.random.loggamma(jax.random.key(1), jnp.exp(log_a))
    slope = jax.grad(lambda a: log_gamma(a, log_z).sum())(log_a)
    with jax.enable_x64(True):
        exact = jax.grad(lambda a: log_gamma(a, jnp.asarray(log_z, float)).sum())(
            jnp.asarray(log_a, float)
        )
    np.testing.assert_allclose(slope, exact, rtol=1e-3)


@pytest.mark.parametrize("concentration", [1.1e3, 1e5, 1e8])
def test_a_large_gamma_sample_has_the_derivative_of_its_quantile(concentration):
    noise = np.array([-4.0, -1.5, 0.1, 2.0, 4.0])
    step = 1e-2 / np.sqrt(concentration)

    def log_z(move):
        quantile = scipy.special.gammaincinv(
            concentration * np.exp(move), scipy.special.ndtr(noise)
        )
        return np.log(quantile)

    exact = (log_z(step) - log_z(-step)) / (2 * step)
    log_gamma = sys.modules["vaejax.families.gamma"]._with_implicit_gradient
    log_a = jnp.full(5, np.log(concentration))
    slope = jax.grad(lambda a: log_gamma(a, jnp.asarray(log_z(0.0))).sum())(log_a)
    np.testing.assert_allclose(slope, exact, atol=2e-5)
    # z in proportion to a, whatever the noise, would be seen.
    assert np.abs(exact - 1).max() > 1e-4


@pytest.mark.parametrize("loc", [-3.0, 0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("log_scale", [-2.5, -1.0, 2.0])
def test_a_truncated_normal_sample_has_the_derivative_of_its_quantile(loc, log_scale):
    draws = 20
    with jax.enable_x64(True):
        params = NormalParams(jnp.full(draws, loc), jnp.full(draws, log_scale))
        ones = jnp.ones(draws)
        by_loc = truncated_derivatives(params, NormalParams(ones, 0 * ones))
        by_scale = truncated_derivatives(params, NormalParams(0 * ones, ones))

        def quantile(shift, stretch):
            moved = NormalParams(params.loc + shift, params.log_scale + stretch)
            return np.asarray(truncated_sample(moved))

        step = 1e-5
        for ours, moves in ((by_loc, (step, 0)), (by_scale, (0, step))):
            there = quantile(*moves) - quantile(*(-move for move in moves))
            np.testing.assert_allclose(ours, there / (2 * step), rtol=1e-4, atol=1e-8)


# Extremes.


@pytest.mark.parametrize("family", [gamma(), beta(), dirichlet()], ids=lambda f: f.name)
def test_concentrations_may_be_of_any_size(family):
    """From 5e-5 to 2e4: values and pathwise gradients stay finite."""
    wrap = {"gamma": GammaParams, "beta": BetaParams}.get(family.name)

    def pathwise(params, others, key):
        z = family.sample(key, params)
        return z.sum() + family.log_prob(params, z) + family.kl(params, others)

    gradient = jax.jit(jax.vmap(jax.value_and_grad(pathwise), in_axes=(None, None, 0)))
    keys = jax.random.split(KEY, 50)
    for extreme in (-10.0, -4.6, 0.0, 6.9, 10.0):
        shape, other = jnp.full(3, extreme), jnp.array([0.0, -extreme, 1.0])
        params = wrap(shape, 0.5 * shape) if wrap else shape
        others = wrap(other, shape) if wrap else other
        for leaf in jax.tree.leaves(gradient(params, others, keys)):
            assert np.isfinite(leaf).all(), extreme


def test_gamma_samples_of_tiny_concentration_follow_the_distribution():
    """By log z, where 42% are below the smallest normal float."""
    family, log_a = gamma(), np.log(1e-2)
    params = GammaParams(jnp.full(1000, log_a), jnp.zeros(1000))
    z = np.asarray(family.sample(jax.random.key(0), params), float)
    tiny = np.finfo(np.float32).tiny
    share = scipy.stats.gamma.cdf(tiny, 1e-2)
    assert abs((z == tiny).mean() - share) < 4.5 * np.sqrt(share * (1 - share) / 1000)
    u = scipy.stats.gamma.cdf(z[z > tiny], 1e-2)
    assert scipy.stats.kstest((u - share) / (1 - share), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("distance", [0.1, 3.0, 1e3, 1e6])
@pytest.mark.parametrize("log_scale", [-8.0, -2.0, 0.0, 12.0])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_truncated_normal_is_stable_in_the_tails(distance, log_scale, side):
    """The location may lie any number of standard deviations outside."""
    loc = 0.5 + side * (0.5 + distance)
    family = truncated_normal()
    params = NormalParams(jnp.full(200, loc), jnp.full(200, log_scale))
    z = truncated_sample(params)
    assert ((z >= 0) & (z <= 1)).all()
    with jax.enable_x64(True):
        exact = truncated_mean(NormalParams(jnp.full(1, loc), jnp.full(1, log_scale)))
    np.testing.assert_allclose(truncated_mean(params)[:1], exact, rtol=2e-6)
    # Near the bound the density is exponential, of rate distance / scale^2.
    rate = distance * np.exp(-2.0 * log_scale)
    if distance * np.exp(-log_scale) > 100 and rate > 100 and side < 0:
        np.testing.assert_allclose(exact, 1 / rate, rtol=1e-3)
        u = -np.expm1(-rate * np.asarray(z, float))
        assert scipy.stats.kstest(u, "uniform").pvalue > 1e-4
        np.testing.assert_allclose(
            family.log_prob(jax.tree.map(lambda leaf: leaf[:1], params), z[:1]),
            np.log(rate) - rate * float(z[0]),
            rtol=1e-3,
        )
    value, slopes = truncated_pathwise(params)
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_truncated_normal_has_no_density_outside_and_takes_its_bounds():
    family = truncated_normal(-2.0, 3.0)
    params = NormalParams(jnp.array([0.5]), jnp.array([0.3]))
    scale = np.exp(0.3)
    twin = scipy.stats.truncnorm(-2.5 / scale, 2.5 / scale, 0.5, scale)
    for z in (-2.0, -0.7, 3.0):
        ours = family.log_prob(params, jnp.array([z]))
        np.testing.assert_allclose(ours, twin.logpdf(z), rtol=1e-5)
    assert family.log_prob(params, jnp.array([3.1])) == -np.inf
    with pytest.raises(VaejaxError, match="use low < high"):
        truncated_normal(1.0, 1.0)


@pytest.mark.parametrize("log_scale", [-30.0, 0.0, 5.0])
def test_logit_normal_is_finite_where_it_rounds_to_the_ends(log_scale):
    params = NormalParams(jnp.array([-60.0, 0.0, 60.0]), jnp.full(3, log_scale))
    z = logit_normal().sample(jax.random.key(0), params)
    assert ((z > 0) & (z < 1)).all()
    if log_scale == 0:
        value, slopes = jax.value_and_grad(logit_normal().log_prob)(params, z)
        assert np.isfinite(value)
        assert all(np.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("extreme", [-20.0, 0.0, 20.0])
def test_full_normal_is_finite_at_any_scale(extreme):
    factor = jnp.array([[extreme, 0.0], [1.0, -extreme]])
    params = FullNormalParams(jnp.array([0.5, -0.5]), factor)
    family = full_normal()
    standard = FullNormalParams(jnp.zeros(2), jnp.zeros((2, 2)))

    def pathwise(params):
        z = family.sample(jax.random.key(0), params)
        return family.log_prob(standard, z) + family.kl(params, standard)

    value, slopes = jax.value_and_grad(pathwise)(params)
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_full_normal_without_correlations_is_the_diagonal_one():
    case = CASES["diagonal_normal"]
    diagonal = case.family("diagonal_normal")
    full = full_normal(3)
    p, q = (
        FullNormalParams(params.loc, jnp.diag(params.log_scale))
        for params in (case.params, case.others)
    )
    z = diagonal.sample(jax.random.key(0), case.params)
    np.testing.assert_allclose(full.sample(jax.random.key(0), p), z, rtol=1e-5)
    np.testing.assert_allclose(
        full.log_prob(p, z), diagonal.log_prob(case.params, z), rtol=1e-5
    )
    np.testing.assert_allclose(
        full.kl(p, q), diagonal.kl(case.params, case.others), rtol=1e-5
    )


def test_dirichlet_quadrature_integrates_the_3_simplex():
    with jax.enable_x64(True):
        log_a = jnp.log(jnp.array([0.4, 2.5, 0.8]))
        a = np.exp(np.asarray(log_a))
        z, weights = jax.jit(dirichlet().quadrature, static_argnums=1)(log_a, 128)
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-10)
        np.testing.assert_allclose(weights @ z, a / a.sum(), rtol=1e-9)
        np.testing.assert_allclose(
            weights @ (z[:, 0] * z[:, 1]),
            a[0] * a[1] / (a.sum() * (a.sum() + 1)),
            rtol=1e-9,
        )
        np.testing.assert_allclose(
            weights @ np.log(z[:, 0]),
            scipy.special.digamma(a[0]) - scipy.special.digamma(a.sum()),
            rtol=1e-7,
        )


@pytest.mark.parametrize("concentration", [0.1, 0.5, 1.0, 40.0, 1e3])
def test_gamma_and_beta_quadrature_hold_at_any_concentration(concentration):
    with jax.enable_x64(True):
        log_a = jnp.log(jnp.full(1, concentration))
        z, weights = gamma().quadrature(GammaParams(log_a, jnp.ones(1)), 256)
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-9)
        np.testing.assert_allclose(
            weights @ np.log(z[:, 0]), scipy.special.digamma(concentration) - 1, 1e-8
        )
        z, weights = beta().quadrature(BetaParams(log_a, jnp.zeros(1)), 256)
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-10)
        np.testing.assert_allclose(
            weights @ z[:, 0], concentration / (concentration + 1), rtol=1e-10
        )


@pytest.mark.parametrize(("concentration", "x64"), [(0.5, False), (0.25, True)])
def test_beta_samples_carry_the_gradient_of_log_one_minus_z(concentration, x64):
    """d E log(1 - z) / d log b = b (psi'(b) - psi'(a + b)), near 1 as well."""
    family, draws = beta(), 40_000
    with jax.enable_x64(x64):
        params = BetaParams(*jnp.log(jnp.full((2, 1), concentration)))
        keys = jax.random.split(KEY, draws)

        def log_rest(params, key):
            return jnp.log1p(-family.sample(key, params)).sum()

        slopes = jax.jit(jax.vmap(jax.grad(log_rest), (None, 0)))(params, keys)
    psi = functools.partial(scipy.special.polygamma, 1)
    expected = (
        -concentration * psi(2 * concentration),
        concentration * (psi(concentration) - psi(2 * concentration)),
    )
    for slope, truth in zip(slopes, expected, strict=True):
        values = np.asarray(slope, float)
        stderr = values.std() / np.sqrt(draws)
        assert abs(values.mean() - truth) < 4.5 * stderr
        assert abs(1.1 * values.mean() - truth) > 4.5 * stderr
