"""Discrete families: relaxations, antithetic pairs, and logits of any size."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from family_cases import CASES, DRAWS, draw, with_capability

from vaejax.core import VaejaxError
from vaejax.families import bernoulli, categorical, poisson

relaxed = pytest.mark.parametrize("name", with_capability("couplings.relax"))
TEMPERATURE = 0.7
P_VALUE = 1e-2 / 40  # fewer than 40 tests in this file: 1% that one fails by chance


def keys(seed: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), DRAWS)


def relaxation(name):
    case = CASES[name]
    return case.params, case.family(name).couplings.relax


def soft_draws(name):
    params, relax = relaxation(name)

    def one(key):
        u = relax.noise(key, params)
        return relax.soft(params, u, TEMPERATURE), relax.hard(params, u)

    return (np.asarray(leaf) for leaf in jax.jit(jax.vmap(one))(keys(1)))


def conditional_draws(name, params=None):
    """Events, and relaxed events given them from noise of their own."""
    true_params, relax = relaxation(name)
    params = true_params if params is None else params
    x = draw(name, seed=2)

    def one(key, x):
        return relax.conditional(params, relax.noise(key, params), x, TEMPERATURE)

    return np.asarray(x), np.asarray(jax.jit(jax.vmap(one))(keys(3), x))


def smallest_p_value(one, two):
    """The p-values of two-sample Kolmogorov-Smirnov tests, by coordinate."""
    pairs = zip(one.reshape(DRAWS, -1).T, two.reshape(DRAWS, -1).T, strict=True)
    return min(scipy.stats.ks_2samp(a, b).pvalue for a, b in pairs)


@relaxed
def test_hard_is_equal_in_law_to_a_sample(name):
    _, hard = soft_draws(name)
    assert set(np.unique(hard)) == {0.0, 1.0}
    p = np.asarray(CASES[name].family(name).mean(CASES[name].params), float)
    stderr = np.sqrt(p * (1 - p) / DRAWS)
    assert (np.abs(hard.mean(0) - p) / stderr).max() < 4.5


@relaxed
def test_soft_rounds_to_hard_and_tends_to_it(name):
    soft, hard = soft_draws(name)
    if name == "bernoulli":
        np.testing.assert_array_equal(soft > 0.5, hard)
    else:
        np.testing.assert_allclose(soft.sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(soft.argmax(-1), hard.argmax(-1))
    params, relax = relaxation(name)
    u = relax.noise(jax.random.key(5), params)
    np.testing.assert_allclose(
        relax.soft(params, u, 1e-4), relax.hard(params, u), atol=1e-6
    )


def test_soft_bernoullis_follow_the_binary_concrete_distribution():
    """P(soft <= s) = sigmoid(temperature logit(s) - l)."""
    soft, _ = soft_draws("bernoulli")
    logits = np.asarray(CASES["bernoulli"].params, float)
    quantiles = scipy.special.expit(
        TEMPERATURE * scipy.special.logit(soft.astype(float)) - logits
    )
    for u in quantiles.T:
        assert scipy.stats.kstest(u, "uniform").pvalue > P_VALUE


def test_the_scores_of_soft_categories_are_gumbel_variables():
    """Differences of Gumbel variables are logistic."""
    soft, _ = soft_draws("categorical")
    logits = np.asarray(CASES["categorical"].params, float)
    score = TEMPERATURE * np.log(soft.astype(float)) - logits
    for i, j in itertools.combinations(range(3), 2):
        for variable in range(2):
            difference = score[:, variable, i] - score[:, variable, j]
            assert scipy.stats.kstest(difference, "logistic").pvalue > P_VALUE


@relaxed
def test_a_conditional_relaxation_has_its_event(name):
    x, soft = conditional_draws(name)
    if name == "bernoulli":
        np.testing.assert_array_equal(soft > 0.5, x)
    else:
        np.testing.assert_array_equal(soft.argmax(-1), x.argmax(-1))


@relaxed
def test_conditional_and_unconditional_relaxations_have_one_law(name):
    soft, _ = soft_draws(name)
    _, given_event = conditional_draws(name)
    assert smallest_p_value(soft, given_event) > P_VALUE
    # With the wrong parameters it is another.
    _, wrong = conditional_draws(name, params=CASES[name].others)
    assert smallest_p_value(soft, wrong) < 1e-6


def test_a_conditional_category_has_the_joint_law_of_its_scores():
    """Sums over pairs of categories see what the coordinates alone do not."""
    soft, _ = soft_draws("categorical")
    _, given_event = conditional_draws("categorical")
    products = [z[..., 0] * z[..., 1] for z in (soft, given_event)]
    assert smallest_p_value(*products) > P_VALUE


@relaxed
def test_relaxations_are_differentiable_at_any_logit(name):
    _, relax = relaxation(name)
    weights = jnp.arange(1.0, 4.0)
    for extreme in (0.0, 30.0, 1e4):
        logits = jnp.array([-extreme, extreme, 0.0])
        u = relax.noise(jax.random.key(0), logits)
        x = relax.hard(logits, u)
        for f in (
            lambda logits, u=u: relax.soft(logits, u, 0.5),
            lambda logits, u=u, x=x: relax.conditional(logits, u, x, 0.5),
        ):
            value, slope = jax.value_and_grad(lambda p, f=f: f(p) @ weights)(logits)
            assert np.isfinite(value)
            assert np.isfinite(slope).all()


@relaxed
def test_relaxations_have_the_derivatives_of_finite_differences(name):
    with jax.enable_x64(True):
        _, relax = relaxation(name)
        logits = jnp.array([-0.4, 0.9, 0.1])
        u = relax.noise(jax.random.key(0), logits)
        x, weights = relax.hard(logits, u), jnp.array([1.0, -2.0, 0.5])

        def both(logits):
            soft = relax.soft(logits, u, 0.5)
            return (soft + relax.conditional(logits, u, x, 0.5) ** 2) @ weights

        slope = jax.grad(both)(logits)
        for i, step in enumerate(1e-5 * np.eye(3)):
            difference = (both(logits + step) - both(logits - step)) / 2e-5
            np.testing.assert_allclose(slope[i], difference, rtol=1e-6)


def test_antithetic_pairs_are_bernoulli_and_coupled():
    logits = CASES["bernoulli"].params
    pair = jax.jit(jax.vmap(bernoulli().couplings.antithetic, in_axes=(0, None)))
    one, two = (np.asarray(b) for b in pair(keys(7), logits))
    p = scipy.special.expit(np.asarray(logits, float))
    stderr = np.sqrt(p * (1 - p) / DRAWS)
    for b in (one, two):
        assert set(np.unique(b)) == {0.0, 1.0}
        assert (np.abs(b.mean(0) - p) / stderr).max() < 4.5
    # u < p and 1 - u < p together: probability max(2 p - 1, 0).
    both = np.maximum(2 * p - 1, 0)
    stderr = np.sqrt(both * (1 - both) / DRAWS)
    assert (np.abs((one * two).mean(0) - both) <= 4.5 * stderr).all()


# Extremes.


@pytest.mark.parametrize("extreme", [1.0, 88.0, 1e4])
def test_categorical_is_exact_at_any_logit(extreme):
    logits = jnp.array([-extreme, extreme, 0.5 * extreme])
    family = categorical(3)
    truth = scipy.special.log_softmax(np.asarray(logits, float))
    for x, log_p in zip(np.eye(3, dtype=np.float32), truth, strict=True):
        value, slope = jax.value_and_grad(family.log_prob)(logits, jnp.asarray(x))
        np.testing.assert_allclose(value, log_p, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(slope, x - np.exp(truth), rtol=1e-5, atol=1e-6)
    assert family.sample(jax.random.key(0), logits).sum() == 1
    value, slopes = jax.value_and_grad(family.kl, argnums=(0, 1))(logits, -logits)
    other = scipy.special.log_softmax(-np.asarray(logits, float))
    np.testing.assert_allclose(value, np.exp(truth) @ (truth - other), rtol=1e-5)
    assert np.isfinite(slopes).all()


def test_categories_are_the_last_axis_and_the_outputs_first():
    family = categorical(4)
    outputs = jnp.arange(24.0).reshape(4, 2, 3)
    logits = family.head.from_outputs(outputs)
    assert logits.shape == (2, 3, 4)
    np.testing.assert_array_equal(logits[1, 2], outputs[:, 1, 2])
    x = family.sample(jax.random.key(0), logits)
    assert x.shape == (2, 3, 4)
    np.testing.assert_array_equal(x.sum(-1), np.ones((2, 3)))


def test_categorical_refuses_a_single_category():
    with pytest.raises(VaejaxError, match="1 categories: use 2 or more"):
        categorical(1)


def test_categorical_kl_is_scipys():
    case = CASES["categorical"]
    p, q = case.twin(case.params).mean(), case.twin(case.others).mean()
    kl = categorical(3).kl(case.params, case.others)
    np.testing.assert_allclose(kl, scipy.stats.entropy(p.T, q.T).sum(), rtol=1e-5)


@pytest.mark.parametrize("log_rate", [-60.0, -3.0, 0.0, 5.0])
def test_poisson_is_exact_at_any_rate(log_rate):
    family, rate = poisson(), np.exp(log_rate)
    for x in (0.0, 1.0, 150.0):
        value, slope = jax.value_and_grad(family.log_prob)(
            jnp.array([log_rate]), jnp.array([x])
        )
        np.testing.assert_allclose(
            value, scipy.stats.poisson.logpmf(x, rate), rtol=1e-5, atol=1e-4
        )
        np.testing.assert_allclose(slope, [x - rate], rtol=1e-5, atol=1e-5)
    kl = family.kl(jnp.array([log_rate]), jnp.zeros(1))
    np.testing.assert_allclose(kl, rate * log_rate - rate + 1, rtol=1e-5, atol=1e-6)


def test_poisson_samples_pass_no_gradient_and_do_not_fail():
    slope = jax.grad(lambda p: poisson().sample(jax.random.key(0), p).sum())
    np.testing.assert_array_equal(slope(jnp.array([0.3, 3.0])), [0, 0])
