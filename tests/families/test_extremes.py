"""Densities, divergences and derivatives at extremes, in float32 against 50 digits.

The truth is that of the float32 parameters, each converted without rounding. A new
family is under test by one row of `extreme_cases.EXTREMES`.
"""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from extreme_cases import EXTREMES
from family_cases import CASES
from mp_laws import exact

from vaejax.families import FAMILIES, GammaParams, NegativeBinomialParams
from vaejax.models.parts import LIKELIHOODS

pytestmark = pytest.mark.slow

every_family = pytest.mark.parametrize("name", EXTREMES)
divergent = pytest.mark.parametrize(
    "name", [name for name, case in EXTREMES.items() if case.kl]
)
LAWS = FAMILIES | LIKELIHOODS
FLOWS = [
    name
    for name, family in FAMILIES.items()
    if family().own_samples.sample_and_log_prob
]
MOVES = (1e-3, -1e-2, 0.6, -3.0)
STEP = mp.mpf(10) ** -18


def test_every_family_has_its_extremes():
    assert set(EXTREMES) | set(FLOWS) == set(LAWS)


def parameters(name, *leaves):
    tree = jax.tree.structure(CASES[name].params if name in CASES else 0)
    return jax.tree.unflatten(tree, [jnp.asarray(leaf, jnp.float32) for leaf in leaves])


def exactly(name, params, row):
    # Of a number, the function gives no array.
    return [np.array(exact(np.asarray(leaf[row]))) for leaf in jax.tree.leaves(params)]


def slopes(f, leaves):
    """Central differences in 50 digits."""
    for leaf in leaves:
        slope = np.zeros(leaf.shape)
        for index in np.ndindex(leaf.shape):
            start = leaf[index]
            ends = []
            for step in (STEP, -STEP):
                leaf[index] = start + step
                ends.append(f(leaves))
            leaf[index] = start
            slope[index] = (ends[0] - ends[1]) / (2 * STEP)
        yield slope


def check(value, truth, message):
    """To 1e-3 nats, and to four units in the last place of what is larger."""
    error = abs(float(mp.mpf(float(value)) - truth))
    assert error < 1e-3 + 5e-7 * abs(float(truth)), (
        message,
        float(value),
        float(truth),
    )


def check_slopes(ours, truths, row, message):
    for leaf, truth in zip(jax.tree.leaves(ours), truths, strict=True):
        scale = np.abs(truth).max()
        np.testing.assert_allclose(
            leaf[row], truth, rtol=0, atol=2e-3 * scale + 1e-5, err_msg=message
        )


@every_family
def test_log_prob_keeps_its_digits_with_its_gradient(name):
    case = EXTREMES[name]
    family = LAWS[name](**case.settings)
    params = parameters(name, *case.leaves)
    x = jnp.asarray(case.x, jnp.float32)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(family.log_prob)))(
        params, x
    )
    for row in range(len(x)):
        leaves, event = exactly(name, params, row), exact(np.asarray(x[row]))
        message = f"{[np.asarray(leaf, float) for leaf in leaves]} at {x[row]}"
        check(values[row], case.law(leaves, event), message)
        truths = slopes(lambda leaves, event=event: case.law(leaves, event), leaves)
        check_slopes(gradients, truths, row, message)


@pytest.mark.parametrize("size", [2000, 20_000])
@pytest.mark.parametrize("total", [1e6, 1e7])
def test_counts_of_many_words_keep_their_digits(total, size):
    rng = np.random.default_rng(size)
    for _ in range(3):
        logits = rng.normal(size=size).astype(np.float32)
        log_p = scipy.special.log_softmax(logits.astype(float))
        x = rng.multinomial(int(total), np.exp(log_p) / np.exp(log_p).sum())
        truth = scipy.special.gammaln(x.sum() + 1.0) + np.sum(
            x * log_p - scipy.special.gammaln(x + 1.0)
        )
        found = LAWS["multinomial"]().log_prob(
            jnp.asarray(logits), jnp.asarray(x, float)
        )
        check(found, truth, (total, size))


@pytest.mark.parametrize("rate", [1e3, 1e5, 1e6, 8.7e6, 1e7])
def test_slopes_near_a_rate_are_right_to_an_ulp_of_it(rate):
    """The difference x - rate is of large numbers, which float32 holds to an ulp."""
    log_rate = np.linspace(0, 1e-2, 40, dtype=np.float32) + np.float32(np.log(rate))
    x = np.rint(np.exp(log_rate.astype(float)) + np.resize([-1, 0, 1], 40))
    x, ulp = x.astype(np.float32), np.spacing(np.float32(rate * np.exp(0.01)))
    log_d = np.full_like(log_rate, np.log(0.1 / rate))
    excess = (exact(x) - np.array([mp.exp(one) for one in exact(log_rate)])).astype(
        float
    )
    r = 10.0 * rate
    found = jax.vmap(jax.grad(LAWS["poisson"]().log_prob))(log_rate, x)
    np.testing.assert_allclose(found, excess, rtol=0, atol=ulp)
    params = NegativeBinomialParams(log_rate, log_d)
    found = jax.vmap(jax.grad(LAWS["negative_binomial"]().log_prob))(params, x)
    damped = excess * r / (r + np.exp(log_rate.astype(float)))
    np.testing.assert_allclose(found.log_mean, damped, rtol=0, atol=ulp)
    # A log rate's own ulp moves the rate by several of its own.
    assert np.spacing(log_rate[0]) * rate > 3 * ulp


@functools.cache
def kl_and_gradients(name):
    family = FAMILIES[name](**EXTREMES[name].settings)
    return jax.jit(jax.vmap(jax.value_and_grad(family.kl, (0, 1))))


def moved(name, move):
    """The parameters, and those of another distribution."""
    case = EXTREMES[name]
    leaves = [np.asarray(leaf, np.float32) for leaf in case.leaves]
    signs = [1.0, -0.4, 0.3, 0.7]
    others = [
        leaf + np.float32(move) * np.resize(np.roll(signs, i), leaf.shape[1:])
        for i, leaf in enumerate(leaves)
    ]
    return parameters(name, *leaves), parameters(name, *others)


@divergent
@pytest.mark.parametrize("move", MOVES)
def test_kl_keeps_its_digits_with_its_gradient(name, move):
    case = EXTREMES[name]
    p, q = moved(name, move)
    values, gradients = kl_and_gradients(name)(p, q)
    for row in range(len(values)):
        one, two = exactly(name, p, row), exactly(name, q, row)
        truth = case.kl(one, two)
        message = f"row {row}: {[np.asarray(leaf, float) for leaf in one]}"
        check(values[row], truth, message)
        assert values[row] >= 0, message
        pairs = slopes(lambda one, two=two: case.kl(one, two), one)
        check_slopes(gradients[0], pairs, row, message)
        pairs = slopes(lambda two, one=one: case.kl(one, two), two)
        check_slopes(gradients[1], pairs, row, message)


@divergent
def test_kl_of_equals_is_zero_with_its_gradient(name):
    p, q = moved(name, 0.0)
    values, gradients = kl_and_gradients(name)(p, q)
    np.testing.assert_allclose(values, 0, atol=1e-6)
    assert (np.asarray(values) >= 0).all()
    _, apart = kl_and_gradients(name)(*moved(name, 1e-2))
    for leaf, other in zip(*map(jax.tree.leaves, (gradients, apart)), strict=True):
        assert (np.abs(leaf) <= 1e-5 + 1e-4 * np.abs(other).max()).all(), leaf


@divergent
def test_kl_of_neighbours_is_not_negative(name):
    """One to a thousand units in the last place away."""
    for move in (1e-7, -1e-6, 1e-5, -1e-4):
        values, _ = kl_and_gradients(name)(*moved(name, move))
        assert (np.asarray(values) >= 0).all(), (move, values)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_keeps_its_digits(name):
    """The truth is the flow in float64, which `test_flows.py` holds to its Jacobian."""
    family = FAMILIES[name](dim=3, depth=2)
    own = () if family.head.weights is None else family.head.weights(jax.random.key(0))
    outputs = np.random.default_rng(0).normal(
        size=(family.head.outputs_per_coordinate, 3)
    )

    @jax.jit
    def log_prob(base, own, z):
        params = family.head.read(base, own)
        return family.log_prob(params, params.base.loc + z)

    for log_scale in (-3.0, 8.0):
        base = outputs.astype(np.float32)
        base[1] = log_scale
        z = np.exp(np.float32(log_scale)) * np.float32([1, -2, 0.5])
        ours = log_prob(jnp.asarray(base), own, jnp.asarray(z))
        with jax.enable_x64(True):
            double = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), (base, own, z))
            truth = log_prob(*double)
        check(ours, mp.mpf(float(truth)), name)


def large(*numbers):
    return jnp.log(jnp.array(numbers, jnp.float32))


def test_log_probs_in_figures():
    """All digits shown are right; the plain sum of the terms is off by up to a nat."""
    of = {name: LAWS[name]() for name in EXTREMES}
    shares = jnp.array([0.25, 0.25, 0.5])
    values = {
        12.794: of["dirichlet"].log_prob(large(1e5, 1e5, 2e5), shares),
        -7.8267: of["poisson"].log_prob(large(1e6), jnp.array([1e6])),
        -6.7231: of["negative_binomial"].log_prob(
            NegativeBinomialParams(large(1e5), large(1e-6)), jnp.array([1e5])
        ),
    }
    for expected, value in values.items():
        assert abs(value - expected) < 1e-3, (expected, value)


def test_a_long_document_in_figures():
    """10^6 words among 2000, against 50 digits."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=2000).astype(np.float32)
    p = np.exp(logits.astype(float))
    x = rng.multinomial(10**6, p / p.sum()).astype(np.float32)
    value = FAMILIES["multinomial"]().log_prob(jnp.asarray(logits), jnp.asarray(x))
    check(value, EXTREMES["multinomial"].law([exact(logits)], exact(x)), "multinomial")


def test_divergences_in_figures():
    moves, one = jnp.array([0.01, 0.0, -0.01]), jnp.ones(1)
    of = {name: FAMILIES[name]().kl for name in ("dirichlet", "poisson", "gamma")}
    a, b = large(1e5, 1e5, 2e5), large(1e3, 2e3, 5e3)
    shape = large(1e4)
    values = {
        13.754: of["dirichlet"](a, a + moves),
        0.20005: of["dirichlet"](b, b + moves),
        50.169: of["poisson"](large(1e6), large(1e6) + 0.01),
        0.01999567: of["gamma"](
            GammaParams(shape, 0 * one), GammaParams(shape - 0.001, 0.001 * one)
        ),
    }
    for expected, value in values.items():
        assert abs(value - expected) < 1e-3 * expected, (expected, value)


@pytest.mark.parametrize("shape", [(6,), (3, 2), (3, 2, 1)])
def test_a_multinomial_event_has_any_shape(shape):
    """All its cells share one total: 20 draws among 6."""
    family = FAMILIES["multinomial"](total_count=20)
    logits = jnp.linspace(-1.0, 1.0, 6)
    x = jnp.array([1.0, 2, 2, 4, 3, 8])
    value = family.log_prob(logits.reshape(shape), x.reshape(shape))
    twin = scipy.stats.multinomial(20, scipy.special.softmax(np.asarray(logits, float)))
    np.testing.assert_allclose(value, twin.logpmf(x), rtol=1e-5)
    mean = family.mean(logits.reshape(shape))
    np.testing.assert_allclose(mean.reshape(-1), twin.mean(), rtol=1e-5)
    drawn = family.sample(jax.random.key(0), logits.reshape(shape))
    assert drawn.shape == shape
    assert drawn.sum() == 20
    outputs = family.head.to_outputs(mean)
    np.testing.assert_allclose(
        family.mean(family.head.from_outputs(outputs)), mean, rtol=1e-5
    )
