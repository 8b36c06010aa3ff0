"""Bounds: their order, their values by plain NumPy, symmetries and extremes."""

import hypothesis.extra.numpy as arrays
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaejax.bounds import BOUNDS, beta_elbo, elbo, elbo_analytic_kl, iwae
from vaejax.core import LogTerms, Problem, VaejaxError
from vaejax.models.linear_gaussian import exact_log_px

REGISTERED = {name: factory() for name, factory in BOUNDS.items()}

NUM_SAMPLES = 4  # one shape, so that each bound compiles once
log_weights = arrays.arrays(
    np.float32, NUM_SAMPLES, elements=st.floats(-1e4, 1e4, width=32)
)


def numpy_value(name: str, log_w: np.ndarray) -> float:
    log_w = np.asarray(log_w, np.float64)
    if name == "iwae":
        return log_w.max() + np.log(np.mean(np.exp(log_w - log_w.max())))
    return log_w.mean()


@pytest.fixture(params=REGISTERED)
def bound(request):
    return REGISTERED[request.param]


@given(log_w=log_weights)
def test_values_are_numpys(log_w):
    for name, bound in REGISTERED.items():
        value = jax.jit(bound.aggregate)(log_w)
        np.testing.assert_allclose(
            value, numpy_value(name, log_w), rtol=1e-5, atol=1e-2
        )


@given(log_w=log_weights, seed=st.integers(0, 100))
def test_samples_are_exchangeable(log_w, seed):
    shuffled = np.random.default_rng(seed).permutation(log_w)
    for bound in REGISTERED.values():
        a, b = jax.jit(bound.aggregate)(log_w), jax.jit(bound.aggregate)(shuffled)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-2)


@given(log_w=log_weights, shift=st.floats(-1e3, 1e3, width=32))
def test_a_factor_of_all_weights_comes_out(log_w, shift):
    for bound in REGISTERED.values():
        shifted = jax.jit(bound.aggregate)(log_w + np.float32(shift))
        expected = np.float64(jax.jit(bound.aggregate)(log_w)) + shift
        np.testing.assert_allclose(shifted, expected, rtol=1e-5, atol=1e-2)


# Compiled once each, not once for every example that hypothesis draws.
VALUE_AND_SLOPE = {
    name: jax.jit(jax.value_and_grad(bound.aggregate))
    for name, bound in REGISTERED.items()
}


@given(log_w=log_weights)
def test_value_slope_and_curvature_stay_finite(log_w):
    for name, bound in REGISTERED.items():
        value, slope = VALUE_AND_SLOPE[name](log_w)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
        assert slope.sum() == pytest.approx(1, abs=1e-5)  # the weights are normalised
        assert np.isfinite(jax.jit(bound.curvature)(log_w)).all()


@given(
    log_w=log_weights,
    impossible=st.lists(st.integers(0, NUM_SAMPLES - 2), unique=True, min_size=1),
)
def test_impossible_samples_only_lower_iwae(log_w, impossible):
    # A sample the model gives no probability: its weight is 0, the others still count.
    log_w[impossible] = -np.inf
    value, slope = VALUE_AND_SLOPE["iwae"](log_w)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert (np.asarray(slope)[impossible] == 0).all()
    assert np.isfinite(jax.jit(REGISTERED["iwae"].curvature)(log_w)).all()
    assert value == pytest.approx(numpy_value("iwae", log_w), rel=1e-5, abs=1e-2)
    assert jax.jit(REGISTERED["elbo"].aggregate)(log_w) == -np.inf


def test_curvature_is_the_diagonal_of_the_hessian(bound):
    log_w = jnp.array([0.3, -1.2, 2.0, 0.4])
    by_autodiff = jnp.diagonal(jax.hessian(bound.aggregate)(log_w))
    np.testing.assert_allclose(bound.curvature(log_w), by_autodiff, atol=1e-6)


def test_separable_bounds_are_means(bound):
    log_w = jnp.array([0.3, -1.2, 2.0, 0.4])
    alone = jax.vmap(lambda one: bound.aggregate(one[None]))(log_w).mean()
    same = np.isclose(bound.aggregate(log_w), alone, atol=1e-6)
    assert same == bound.separable


@pytest.mark.parametrize("model", oracles.MODELS)
def test_bounds_are_ordered(model):
    """ELBO <= IWAE_2 <= IWAE_4 <= IWAE_8 <= log p(x), exactly and strictly."""
    values = [-oracles.exact(model, elbo(), 1)[0]]
    values += [-oracles.exact(model, iwae(), k)[0] for k in (2, 4, 8)]
    params, x = oracles.params_of(model), oracles.examples_of(model).x
    if model == "linear_gaussian":
        log_px = jax.vmap(exact_log_px, (None, 0))(params, x).mean()
    else:
        log_px = np.mean([log_px_by_enumeration(params, one) for one in x])
    assert (np.diff([*values, float(log_px)]) > 1e-3).all()


def log_px_by_enumeration(params, x) -> float:
    model = oracles.MODELS["sigmoid_belief_network"]
    prior = model.prior(params, None)
    z = model.posterior.support(prior)
    log_joint = [
        model.latent_prior.log_prob(prior, one)
        + model.likelihood.log_prob(model.decode(params, one, None), x)
        for one in z
    ]
    return np.logaddexp.reduce(np.asarray(log_joint, np.float64))


@pytest.mark.parametrize("model", oracles.MODELS)
def test_the_two_elbos_have_one_expectation(model):
    monte_carlo = oracles.exact(model, elbo(), 2)
    closed_form = oracles.exact(model, elbo_analytic_kl(), 2)
    np.testing.assert_allclose(monte_carlo, closed_form, atol=1e-6)


@pytest.mark.parametrize("model", oracles.MODELS)
def test_beta_weighs_the_kl(model):
    """beta_elbo = elbo - (beta - 1) KL, and at beta = 1 the elbo itself."""
    one = oracles.exact(model, beta_elbo(beta=1.0), 1)
    np.testing.assert_allclose(one, oracles.exact(model, elbo(), 1), atol=1e-9)
    none = oracles.exact(model, beta_elbo(beta=0.0), 1)  # reconstruction alone
    four = oracles.exact(model, beta_elbo(beta=4.0), 1)
    np.testing.assert_allclose(four, none + 4 * (one - none), atol=1e-6)


def test_beta_tempers_the_log_weight():
    terms = LogTerms(jnp.array([1.0]), jnp.array([2.0]), jnp.array([5.0]))
    assert beta_elbo(beta=3.0).log_weight(terms) == pytest.approx(1 + 3 * (2 - 5))


def test_a_negative_beta_is_refused():
    with pytest.raises(VaejaxError, match="use a finite KL weight of at least 0"):
        beta_elbo(beta=-1.0)


def test_the_closed_form_needs_a_closed_form():
    import dataclasses

    model = oracles.MODELS["linear_gaussian"]
    family = dataclasses.replace(model.posterior, kl=None)
    model = dataclasses.replace(model, posterior=family)
    problem = Problem(model=model, bound=elbo_analytic_kl(), num_samples=1)
    assert "use the bound 'elbo'" in problem.bound.needs(model)
