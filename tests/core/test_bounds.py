"""Bounds: their order, their values by plain NumPy, symmetries and extremes."""

import dataclasses
import itertools

import hypothesis.extra.numpy as arrays
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from vaejax.bounds import (
    BOUNDS,
    beta_elbo,
    ciwae,
    cubo,
    elbo,
    elbo_analytic_kl,
    iwae,
    jvi,
    miwae,
    piwae,
    renyi,
    train_apart,
    tvo,
)
from vaejax.core import Bound, LogTerms, LossState, Problem, VaejaxError
from vaejax.estimators import score_function
from vaejax.exact import value_and_gradient
from vaejax.models.linear_gaussian import exact_log_px
from vaejax.objective import make_objective

pytestmark = pytest.mark.slow

REGISTERED = {name: factory() for name, factory in BOUNDS.items()}

NUM_SAMPLES = 4  # one shape, so that each bound compiles once
# Compiled once each, not once for every example that hypothesis draws.
AGGREGATE = {name: jax.jit(bound.aggregate) for name, bound in REGISTERED.items()}
VALUE_AND_SLOPE = {
    name: jax.jit(jax.value_and_grad(bound.aggregate))
    for name, bound in REGISTERED.items()
}
CURVATURE = {
    name: jax.jit(bound.curvature)
    for name, bound in REGISTERED.items()
    if bound.curvature is not None
}

log_weights = arrays.arrays(
    np.float32, NUM_SAMPLES, elements=st.floats(-1e4, 1e4, width=32)
)


def log_mean(log_w: np.ndarray, power: float = 1.0) -> float:
    return (np.logaddexp.reduce(power * log_w) - np.log(log_w.size)) / power


def numpy_tvo(log_w: np.ndarray) -> float:
    """The left Riemann sum over five logarithmic steps from 0.05."""
    knots = [0.0, *(0.05 ** (1 - s / 4) for s in range(5))]
    total = 0.0
    for low, high in itertools.pairwise(knots):
        weights = np.exp(low * (log_w - log_w.max()))
        total += (high - low) * (weights @ log_w) / weights.sum()
    return total


# The registered bounds of four log-weights, from their definitions.
NUMPY_VALUES = {
    "elbo": np.mean,
    "elbo_analytic_kl": np.mean,
    "beta_elbo": np.mean,
    "reconstruction": np.mean,
    "iwae": log_mean,
    "renyi": lambda log_w: log_mean(log_w, 0.5),
    "miwae": lambda log_w: (log_mean(log_w[:2]) + log_mean(log_w[2:])) / 2,
    "ciwae": lambda log_w: (np.mean(log_w) + log_mean(log_w)) / 2,
    "piwae": log_mean,
    "tvo": numpy_tvo,
    "cubo": lambda log_w: log_mean(log_w, 2.0),
    "jvi": lambda log_w: (
        4 * log_mean(log_w)
        - 3 * np.mean([log_mean(np.delete(log_w, k)) for k in range(4)])
    ),
}


def numpy_value(name: str, log_w: np.ndarray) -> float:
    return float(NUMPY_VALUES[name](np.asarray(log_w, np.float64)))


@pytest.fixture(params=REGISTERED)
def bound(request):
    return REGISTERED[request.param]


@given(log_w=log_weights)
def test_values_are_numpys(log_w):
    for name, aggregate in AGGREGATE.items():
        np.testing.assert_allclose(
            aggregate(log_w), numpy_value(name, log_w), rtol=1e-5, atol=2e-2
        )


@given(log_w=log_weights, seed=st.integers(0, 100))
def test_samples_are_exchangeable(log_w, seed):
    shuffled = np.random.default_rng(seed).permutation(log_w)
    for name in REGISTERED:
        if name == "miwae":  # only within its groups
            continue
        a, b = AGGREGATE[name](log_w), AGGREGATE[name](shuffled)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-2)


@given(log_w=log_weights, shift=st.floats(-1e3, 1e3, width=32))
def test_a_factor_of_all_weights_comes_out(log_w, shift):
    for aggregate in AGGREGATE.values():
        shifted = aggregate(log_w + np.float32(shift))
        expected = np.float64(aggregate(log_w)) + shift
        np.testing.assert_allclose(shifted, expected, rtol=1e-5, atol=2e-2)


@given(log_w=log_weights)
def test_value_slope_and_curvature_stay_finite(log_w):
    for name in REGISTERED:
        value, slope = VALUE_AND_SLOPE[name](log_w)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
        # A factor of all weights comes out.
        rounding = 1e-5 * max(1, np.abs(slope).max()) + 1e-7 * np.ptp(log_w)
        assert slope.sum() == pytest.approx(1, abs=float(rounding))
        if name in CURVATURE:
            assert np.isfinite(CURVATURE[name](log_w)).all()


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


@pytest.mark.parametrize("name", CURVATURE)
def test_curvature_is_the_diagonal_of_the_hessian(name):
    log_w = jnp.array([0.3, -1.2, 2.0, 0.4])
    by_autodiff = jnp.diagonal(jax.hessian(REGISTERED[name].aggregate)(log_w))
    np.testing.assert_allclose(CURVATURE[name](log_w), by_autodiff, atol=1e-6)


def test_separable_bounds_are_means(bound):
    """Moving one log-weight changes what another contributes, or does not."""
    mixed = jax.hessian(bound.aggregate)(jnp.array([0.3, -1.2, 2.0, 0.4]))
    off_diagonal = mixed - jnp.diag(jnp.diagonal(mixed))
    assert (np.abs(off_diagonal).max() < 1e-6) == bound.separable


def value(model: str, bound: Bound, num_samples: int) -> float:
    """The exact expected bound, mean over the examples, in nats."""
    loss = oracles.exact(model, bound, num_samples)[0]
    return loss if bound.minimised else -loss


def log_px(model: str) -> float:
    params, x = oracles.params_of(model), oracles.examples_of(model).x
    if model == "linear_gaussian":
        return float(jax.vmap(exact_log_px, (None, 0))(params, x).mean())
    return float(np.mean([log_px_by_enumeration(params, one) for one in x]))


each_model = pytest.mark.parametrize(
    "model", ["linear_gaussian", "sigmoid_belief_network"]
)


def assert_rising(values: list[float]) -> None:
    assert (np.diff(values) > 1e-4).all(), values


@each_model
def test_bounds_are_ordered(model):
    """ELBO <= IWAE_2 <= IWAE_4 <= IWAE_8 <= log p(x), exactly and strictly."""
    tighter = [value(model, iwae(), k) for k in (2, 4, 8)]
    assert_rising([value(model, elbo(), 1), *tighter, log_px(model)])


@pytest.mark.parametrize("power", [1e-2, 1e-3, 9e-4, 1e-5, 1e-7, -1e-7, 1e-8])
def test_renyi_tends_to_the_mean_without_rounding_off(power):
    """1/p log mean w^p = mean log w + p/2 var log w + O(p^2), in float32."""
    log_w = jnp.array([-100.3, -97.1, -105.2])
    bound = renyi(1 - power)
    expected = np.mean(log_w) + power / 2 * np.var(log_w)
    assert float(bound.aggregate(log_w)) == pytest.approx(float(expected), abs=2e-3)
    slope = jax.grad(bound.aggregate)(log_w)
    softmax = np.exp(power * (log_w - log_w.max()))
    np.testing.assert_allclose(slope, softmax / softmax.sum(), rtol=1e-4)


@each_model
def test_renyi_falls_with_alpha_between_its_limits(model):
    values = [value(model, renyi(alpha), 4) for alpha in (3.0, 1.0, 0.5, 0.0)]
    assert_rising([*values, log_px(model)])
    assert values[1] == pytest.approx(value(model, elbo(), 4), abs=1e-9)
    assert values[3] == pytest.approx(value(model, iwae(), 4), abs=1e-9)
    near = value(model, renyi(0.999), 4)
    assert near == pytest.approx(values[1], abs=1e-2)


@each_model
def test_miwae_is_iwae_of_the_samples_in_a_group(model):
    """Two groups of three, not three of two: seen where M is not K."""
    grouped = value(model, miwae(num_groups=2), 6)
    assert grouped == pytest.approx(value(model, iwae(), 3), abs=1e-9)
    assert abs(grouped - value(model, iwae(), 2)) > 1e-3


@each_model
def test_piwae_trains_the_model_by_all_samples_and_the_encoder_by_groups(model):
    problem = Problem(
        model=oracles.MODELS[model], bound=piwae(num_groups=2), num_samples=6
    )
    at = oracles.params_of(model), oracles.examples_of(model)
    found = value_and_gradient(problem, *at)
    tight, loose = (
        value_and_gradient(
            dataclasses.replace(problem, bound=iwae(), num_samples=k), *at
        )
        for k in (6, 3)
    )
    assert found.value == pytest.approx(tight.value, abs=1e-9)
    for group, source in (("encoder", loose), ("decoder", tight), ("prior", tight)):
        np.testing.assert_allclose(
            oracles.flat(getattr(found.gradient, group)),
            oracles.flat(getattr(source.gradient, group)),
            atol=1e-6,
        )
    assert np.abs(oracles.flat(tight.gradient.encoder)).max() > 1e-3


@each_model
def test_ciwae_lies_between_elbo_and_iwae(model):
    loose, tight = value(model, elbo(), 5), value(model, iwae(), 5)
    assert value(model, ciwae(0.25), 5) == pytest.approx(0.25 * loose + 0.75 * tight)


def test_tvo_is_below_iwae_from_the_left_and_above_from_the_right():
    model = "sigmoid_belief_network"
    left = [value(model, tvo(n), 2) for n in (1, 2, 8)]
    right = [value(model, tvo(n, side="right"), 2) for n in (8, 2)]
    assert_rising([*left, value(model, iwae(), 2), *right])
    assert left[0] == pytest.approx(value(model, elbo(), 2), abs=1e-6)


@each_model
def test_cubo_is_above_iwae_and_in_the_limit_above_log_px(model):
    for num_samples in (2, 5):
        assert_rising(
            [value(model, iwae(), num_samples), value(model, cubo(), num_samples)]
        )
    assert value(model, cubo(), 10**5) > log_px(model) + 1e-3
    assert cubo().minimised


@pytest.mark.parametrize(
    ("model", "factor"),
    # The linear-Gaussian weights have a heavy tail: less bias, at a slower rate.
    [("linear_gaussian", 1.5), ("sigmoid_belief_network", 5)],
)
def test_the_jackknife_removes_bias(model, factor):
    truth = log_px(model)
    errors = [
        abs(value(model, bound, 16) - truth) for bound in (iwae(), jvi(1), jvi(2))
    ]
    assert errors[0] > factor * errors[1] > factor * errors[2]


@each_model
def test_an_upper_bound_is_minimised(model):
    objectives = [
        make_objective(oracles.MODELS[model], bound, score_function(), num_samples=3)
        for bound in (cubo(), dataclasses.replace(cubo(), minimised=False))
    ]
    at = (
        oracles.params_of(model),
        LossState(),
        jax.random.key(0),
        oracles.batch_of(model),
    )
    up, down = (jax.value_and_grad(o.loss, has_aux=True)(*at) for o in objectives)
    assert up[0][0] == -down[0][0]
    jax.tree.map(np.testing.assert_allclose, up[1], jax.tree.map(jnp.negative, down[1]))


def test_settings_out_of_range_are_refused():
    for wrong, message in (
        (lambda: renyi(float("nan")), "alpha=nan must be a number"),
        (lambda: miwae(0), "num_groups=0 must be an integer from 1"),
        (lambda: ciwae(1.5), "from 0 to 1"),
        (lambda: cubo(0.5), "at least 1"),
        (lambda: tvo(0), "num_partitions=0 must be an integer from 1"),
    ):
        with pytest.raises(VaejaxError, match=message):
            wrong()
    model = oracles.MODELS["linear_gaussian"]
    assert "use a multiple of 2" in miwae(2).needs(model, 3)
    assert "at least 3" in jvi(2).needs(model, 2)


def log_px_by_enumeration(params, x) -> float:
    model = oracles.MODELS["sigmoid_belief_network"]
    prior = model.prior(params, None)
    z = model.posterior.outcomes.support(prior)
    log_joint = [
        model.latent_prior.log_prob(prior, one)
        + model.likelihood.log_prob(model.decode(params, one, None), x)
        for one in z
    ]
    return np.logaddexp.reduce(np.asarray(log_joint, np.float64))


@each_model
def test_the_two_elbos_have_one_expectation(model):
    monte_carlo = oracles.exact(model, elbo(), 2)
    closed_form = oracles.exact(model, elbo_analytic_kl(), 2)
    np.testing.assert_allclose(monte_carlo, closed_form, atol=1e-6)


@each_model
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
    model = oracles.MODELS["linear_gaussian"]
    family = dataclasses.replace(model.posterior, kl=None)
    model = dataclasses.replace(model, posterior=family)
    problem = Problem(model=model, bound=elbo_analytic_kl(), num_samples=1)
    assert "use the bound 'elbo'" in problem.bound.needs(model, 1)


def test_what_is_the_elbo_in_disguise_is_known_for_it():
    for bound in (tvo(num_partitions=1), ciwae(1.0), miwae(3)):
        assert bound.is_linear(3), bound.name
    assert tvo(num_partitions=1).separable
    for bound in (tvo(), tvo(num_partitions=1, side="right"), ciwae(0.9), miwae(2)):
        assert not bound.is_linear(4), bound.name


def test_bounds_trained_apart_keep_what_the_models_bound_is():
    apart = train_apart("apart", tvo(), tvo(side="right"))
    assert apart.path == tvo().path
    assert apart.name == "apart"
    assert apart.inference.minimised


@pytest.mark.parametrize("spread", [0.5, 3.0, 30.0])
def test_the_jackknife_of_many_samples_is_as_exact_as_its_floats(spread):
    log_w = spread * np.random.default_rng(0).normal(size=1000) - 100
    log_w = np.asarray(log_w, np.float32)
    bound = jvi(1)
    evaluate = jax.value_and_grad(bound.aggregate)
    value, gradient = evaluate(jnp.asarray(log_w))
    # As it is defined, in float64.
    exact = log_w.astype(float)
    rest = [logsumexp(np.delete(exact, k)) for k in range(1000)]
    whole = logsumexp(exact)
    truth = 1000 * (whole - np.log(1000)) - 999 * (np.mean(rest) - np.log(999))
    scale = 1 + 999 * (whole - min(rest)) / 1000
    assert abs(float(value) - truth) < 2e-5 * scale
    with jax.enable_x64(True):
        _, in_double = evaluate(jnp.asarray(exact))
    np.testing.assert_allclose(gradient, in_double, atol=1e-5 * scale)
    # Term by term float32 is off by more.
    single = [np.float32(x) - np.float32(np.log(999)) for x in rest]
    naive = 1000 * np.float32(whole - np.log(1000)) - 999 * np.mean(single)
    assert spread > 3 or abs(naive - truth) > 1e-4
