"""The sphere: Bessel functions, the implicit derivative, samples, extremes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
from family_cases import CASES, DRAWS, draw

from vaejax.core import VaejaxError
from vaejax.families import (
    VonMisesFisherParams,
    spherical_gap,
    uniform_on_sphere,
    von_mises_fisher,
)
from vaejax.models import family_mlp

pytestmark = pytest.mark.slow

sphere_slope = jax.jit(
    jax.vmap(spherical_gap.implicit_slope, in_axes=(None, None, 0)), static_argnums=0
)
KEY = jax.random.key(0)


@jax.jit
@functools.partial(jax.value_and_grad, argnums=1)
def sphere_pathwise(uniform, params):
    z = von_mises_fisher().sample(KEY, params)
    divergence = von_mises_fisher().kl(params, uniform)
    return z.sum() + von_mises_fisher().log_prob(params, z) + divergence


@pytest.mark.parametrize("dim", [2, 3, 10, 50])
@pytest.mark.parametrize("kappa", [1e-2, 1.0, 30.0, 1e3])
def test_a_sphere_sample_has_the_derivative_of_its_quantile(dim, kappa):
    spread = min(1.0, np.sqrt(dim / (2 * kappa)))
    center = 1 - _bessel_ratio(kappa, dim)
    gaps = np.clip(center * np.array([0.3, 0.7, 1.0, 1.3]), 1e-6, 1.9)
    with jax.enable_x64(True):
        slope = sphere_slope(dim, jnp.asarray(kappa), jnp.asarray(gaps))

    def density(t, kappa):
        """The log density of the angle t = arccos w."""
        return np.exp(-2 * kappa * np.sin(t / 2) ** 2) * np.sin(t) ** (dim - 2)

    def integral(a, b, kappa):
        cuts = sorted({a, b, *(c * spread for c in (0.5, 1, 2, 4, 8))} - {np.pi})
        cuts = [cut for cut in cuts if a <= cut < b] + [b]
        return sum(
            scipy.integrate.quad(density, *ends, (kappa,), epsabs=0, epsrel=1e-12)[0]
            for ends in itertools.pairwise(cuts)
        )

    step = 1e-4 * (1 + kappa)
    for gap, ours in zip(gaps, np.asarray(slope), strict=True):
        angle = 2 * np.arcsin(np.sqrt(gap / 2))
        # The smaller tail, of which differences keep their digits.
        near = gap < center
        tail = (0, angle) if near else (angle, np.pi)
        above, under = (
            integral(*tail, k) / integral(0, np.pi, k)
            for k in (kappa + step, kappa - step)
        )
        at_w = density(angle, kappa) / np.sin(angle) / integral(0, np.pi, kappa)
        truth = (-1 if near else 1) * (above - under) / (2 * step) / at_w
        np.testing.assert_allclose(ours, truth, rtol=1e-4)


def _bessel_ratio(kappa, dim):
    return scipy.special.ive(dim / 2, kappa) / scipy.special.ive(dim / 2 - 1, kappa)


@pytest.mark.parametrize("dim", [2, 3, 5, 10, 50])
def test_the_spheres_normaliser_is_a_bessel_function(dim):
    kappas, order = np.array([1e-2, 0.5, 3.0, 30.0, 1e3]), dim / 2 - 1
    truth = np.log(scipy.special.ive(order, kappas)) - order * np.log(kappas)
    truth += dim / 2 * np.log(2 * np.pi)
    gaps = 1 - _bessel_ratio(kappas, dim)

    def both(kappa):
        return jax.value_and_grad(spherical_gap.log_scaled_normaliser)(kappa, dim)

    for x64, tolerance in ((True, 1e-9), (False, 2e-6)):
        with jax.enable_x64(x64):
            value, slope = jax.jit(jax.vmap(both))(jnp.asarray(kappas))
        np.testing.assert_allclose(value, truth, rtol=tolerance, atol=4 * tolerance)
        np.testing.assert_allclose(slope, -gaps, rtol=1e-8 if x64 else 1e-5)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 0.5), (2, 30.0), (5, 3.0), (50, 1e3)])
def test_sphere_samples_have_unit_length_and_the_right_mean(dim, kappa):
    direction = jnp.array(np.random.default_rng(0).normal(size=dim), jnp.float32)
    params = VonMisesFisherParams(direction, jnp.log(jnp.float32(kappa)))
    keys = jax.random.split(jax.random.key(0), 4000)
    z = jax.jit(jax.vmap(von_mises_fisher().sample, in_axes=(0, None)))(keys, params)
    z = np.asarray(z, float)
    np.testing.assert_allclose((z**2).sum(-1), 1, rtol=1e-5)
    mu = np.asarray(direction / jnp.linalg.norm(direction), float)
    # 1 - mu'z without cancellation.
    gap = ((z - mu) ** 2).sum(-1) / 2
    error = gap.std() / np.sqrt(len(z))
    assert abs(gap.mean() - 1 + _bessel_ratio(kappa, dim)) < 4.5 * error
    # Around the mean no direction is preferred.
    across = z - (z @ mu)[:, None] * mu
    error = across.std(0) / np.sqrt(len(z))
    assert np.abs(across.mean(0) / error).max() < 4.5


def test_sphere_samples_carry_the_gradient_of_the_mean():
    case, family = CASES["von_mises_fisher"], von_mises_fisher()
    weights = jnp.array([1.0, -0.7, 0.4])
    keys = jax.random.split(jax.random.key(4), DRAWS)
    slopes = jax.jit(
        jax.vmap(
            jax.grad(lambda params, key: family.sample(key, params) @ weights),
            in_axes=(None, 0),
        )
    )(case.params, keys)
    truth = jax.jit(jax.grad(lambda params: family.mean(params) @ weights))(case.params)
    for slope, expected in zip(slopes, truth, strict=True):
        slope = np.asarray(slope, float)
        z = (slope.mean(0) - expected) / (slope.std(0) / np.sqrt(DRAWS))
        assert np.abs(z).max() < 4.5
        # 10% of bias would be seen in some coordinate.
        planted = (1.1 * slope.mean(0) - expected) / (slope.std(0) / np.sqrt(DRAWS))
        assert np.abs(planted).max() > 4.5


def test_sphere_divergence_from_the_uniform_distribution():
    """kappa E w + log uniform area - log C(kappa)."""
    params = CASES["von_mises_fisher"].params
    kappa = np.exp(float(params.log_concentration))
    ratio = 1 / np.tanh(kappa) - 1 / kappa
    log_c = np.log(4 * np.pi * np.sinh(kappa) / kappa)
    truth = kappa * ratio + np.log(4 * np.pi) - log_c
    family, uniform = von_mises_fisher(), uniform_on_sphere(3)
    np.testing.assert_allclose(family.kl(params, uniform), truth, rtol=1e-5)
    z = draw("von_mises_fisher", 5)
    np.testing.assert_allclose(
        family.log_prob(uniform, z[0]), -np.log(4 * np.pi), rtol=1e-6
    )


@pytest.mark.parametrize("log_kappa", [-20.0, 0.0, 9.0])
@pytest.mark.parametrize("length", [1e-20, 1.0, 1e20])
def test_the_sphere_is_finite_at_any_length_and_concentration(log_kappa, length):
    direction = length * jnp.array([-1.0, 2.0, 0.5])
    params = VonMisesFisherParams(direction, jnp.asarray(log_kappa))
    value, slopes = sphere_pathwise(uniform_on_sphere(3), params)
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("log_kappa", [np.nan, np.inf, 90.0, 45.0])
def test_a_concentration_that_is_no_number_ends_the_rejection(log_kappa):
    """A training that diverges must reach the guard of its step."""
    params = VonMisesFisherParams(jnp.ones(3), jnp.float32(log_kappa))
    z = jax.jit(von_mises_fisher().sample)(KEY, params)
    assert np.isnan(z).any() or abs(np.linalg.norm(z) - 1) < 1e-5


def test_a_line_has_no_sphere():
    with pytest.raises(VaejaxError, match=r"latent_dim is 1: use .* 2 dimensions"):
        family_mlp(posterior="von_mises_fisher", latent_dim=1)
