"""Standardised data: exact ways there and back, and the Jacobian of the density."""

import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from vaejax.data import standardization

X = np.random.default_rng(0).normal(5.0, (3.0, 0.1), (200, 2))
UNITS = standardization(X)


def test_each_coordinate_has_mean_0_and_deviation_1():
    u = UNITS.apply(X)
    np.testing.assert_allclose(u.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(u.std(0), 1, atol=1e-12)
    np.testing.assert_allclose(UNITS.undo(u), X, rtol=1e-12)


def test_the_jacobian_is_that_of_a_change_of_variables():
    x = np.array([[4.0, 5.05], [9.0, np.nan]])
    of_u = norm.logpdf(UNITS.apply(x))
    own = norm.logpdf(x, UNITS.mean, UNITS.scale)
    found = np.nansum(of_u, 1) - UNITS.log_scale(x)
    np.testing.assert_allclose(found, np.nansum(own, 1), rtol=1e-12)
    # Without it, the density is another by log 3 + log 0.1.
    assert abs(np.nansum(of_u, 1) - np.nansum(own, 1)).min() > 1
    np.testing.assert_allclose(UNITS.log_scale(jnp.asarray(x)), UNITS.log_scale(x))


def test_what_is_missing_constant_or_fixed_leaves_the_others_as_they_are():
    x = np.stack([X[:, 0], np.full(200, 7.0), np.arange(200.0) % 3], 1)
    x[::2, 0] = np.nan
    units = standardization(x, np.array([False, False, True]))
    np.testing.assert_allclose(units.mean, [X[1::2, 0].mean(), 7.0, 0.0])
    np.testing.assert_allclose(units.scale, [X[1::2, 0].std(), 1.0, 1.0])
    np.testing.assert_array_equal(np.isnan(units.apply(x)), np.isnan(x))
