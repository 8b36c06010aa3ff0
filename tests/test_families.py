"""Families against scipy: densities, samples, divergences, extremes, derivatives.

A new family is under test by its registry line and one row of `CASES`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from vaejax.bounds import iwae
from vaejax.core import Example, Problem, VaejaxError
from vaejax.estimators import pathwise
from vaejax.families import FAMILIES, NormalParams, bernoulli, fixed_normal
from vaejax.models import gaussian_mlp
from vaejax.terms import sample_posterior

NORMAL = NormalParams(jnp.array([0.3, -1.2, 2.0]), jnp.array([-0.7, 0.0, 0.9]))
LOGITS = jnp.array([-1.5, 0.2, 3.0])
DRAWS = 20_000


@dataclasses.dataclass(frozen=True)
class Case:
    """A family's parameters of three coordinates, others, and its twin in scipy."""

    params: Any
    others: Any
    twin: Callable[[Any], Any]  # per coordinate
    discrete: bool = False


def normal_twin(params):
    loc, log_scale = (np.asarray(leaf, float) for leaf in params)
    return scipy.stats.norm(loc, np.exp(log_scale))


CASES = {
    "diagonal_normal": Case(
        NORMAL, NormalParams(NORMAL.loc - 0.4, NORMAL.log_scale * -0.5), normal_twin
    ),
    "fixed_normal": Case(
        NORMAL.loc,
        NORMAL.loc - 0.4,
        lambda loc: scipy.stats.norm(np.asarray(loc, float), 0.1),  # its default
    ),
    "bernoulli": Case(
        LOGITS,
        -0.5 * LOGITS,
        lambda logits: scipy.stats.bernoulli(
            scipy.special.expit(np.asarray(logits, float))
        ),
        discrete=True,
    ),
}

every_family = pytest.mark.parametrize("name", FAMILIES)


def with_capability(field: str) -> pytest.MarkDecorator:
    """The families that have it."""
    names = [n for n, f in FAMILIES.items() if getattr(f(), field) is not None]
    return pytest.mark.parametrize("name", names)


def draw(name: str, draws: int = DRAWS, seed: int = 0) -> jax.Array:
    keys = jax.random.split(jax.random.key(seed), draws)
    sample = jax.jit(jax.vmap(FAMILIES[name]().sample, in_axes=(0, None)))
    return sample(keys, CASES[name].params)


def twin_log_prob(name: str, x) -> np.ndarray:
    case = CASES[name]
    twin = case.twin(case.params)
    density = twin.logpmf if case.discrete else twin.logpdf
    return density(np.asarray(x, float)).sum(-1)


def test_every_family_has_a_case():
    assert set(CASES) == set(FAMILIES)


@every_family
def test_log_prob_is_scipys(name):
    x = draw(name, 50)
    family = FAMILIES[name]()
    value = jax.vmap(family.log_prob, in_axes=(None, 0))(CASES[name].params, x)
    np.testing.assert_allclose(value, twin_log_prob(name, x), rtol=1e-5, atol=1e-5)


@every_family
def test_vmapped_log_prob_is_a_loop(name):
    x, family = draw(name, 8), FAMILIES[name]()
    together = jax.vmap(family.log_prob, in_axes=(None, 0))(CASES[name].params, x)
    loop = [family.log_prob(CASES[name].params, one) for one in x]
    np.testing.assert_allclose(together, jnp.stack(loop), rtol=1e-6)


@every_family
def test_an_event_has_any_shape(name):
    """[3] and [1, 3, 1] are the same event."""
    family, case = FAMILIES[name](), CASES[name]
    shaped = jax.tree.map(lambda leaf: leaf.reshape(1, 3, 1), case.params)
    x = family.sample(jax.random.key(0), case.params)
    same = family.sample(jax.random.key(0), shaped)
    assert same.shape == (1, 3, 1)
    np.testing.assert_array_equal(same.reshape(-1), x)
    np.testing.assert_allclose(
        family.log_prob(shaped, same), family.log_prob(case.params, x), rtol=1e-6
    )


@every_family
def test_samples_follow_the_distribution(name):
    x, case = np.asarray(draw(name), float), CASES[name]
    twin = case.twin(case.params)
    for i in range(3):
        if case.discrete:
            p = twin.mean()[i]
            counts = np.bincount(x[:, i].astype(int), minlength=2)
            test = scipy.stats.chisquare(counts, DRAWS * np.array([1 - p, p]))
        else:  # its quantiles are uniform
            test = scipy.stats.kstest(twin.cdf(x)[:, i], "uniform")
        assert test.pvalue > 1e-4
    # Coordinates are independent.
    correlation = np.corrcoef(x.T)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(DRAWS)


@every_family
def test_the_sampling_test_sees_other_parameters(name):
    x, case = np.asarray(draw(name), float), CASES[name]
    z = (x.mean(0) - case.twin(case.others).mean()) / (x.std(0) / np.sqrt(DRAWS))
    assert np.abs(z).min() > 5


@every_family
def test_mean_is_scipys_and_survives_the_networks_outputs(name):
    family, case = FAMILIES[name](), CASES[name]
    np.testing.assert_allclose(
        family.mean(case.params), case.twin(case.params).mean(), rtol=1e-5
    )
    mean = jnp.array([0.05, 0.5, 0.98])
    outputs = family.to_outputs(mean)
    assert outputs.shape == (family.outputs_per_coordinate, 3)
    np.testing.assert_allclose(
        family.mean(family.from_outputs(outputs)), mean, rtol=1e-5
    )


def test_a_pixel_that_is_always_on_starts_at_a_finite_logit():
    family = bernoulli()
    outputs = family.to_outputs(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(
        family.mean(family.from_outputs(outputs)), [0.001, 0.999], rtol=1e-4
    )


# Capabilities.


@with_capability("kl")
def test_kl_is_the_closed_form(name):
    family, case = FAMILIES[name](), CASES[name]
    p, q = case.twin(case.params), case.twin(case.others)
    if case.discrete:
        pairs = zip(p.mean(), q.mean(), strict=True)
        truth = sum(scipy.stats.entropy([1 - a, a], [1 - b, b]) for a, b in pairs)
    else:
        ratio = p.var() / q.var()
        squares = (p.mean() - q.mean()) ** 2 / q.var()
        truth = 0.5 * (ratio + squares - 1 - np.log(ratio)).sum()
    np.testing.assert_allclose(family.kl(case.params, case.others), truth, rtol=1e-5)
    np.testing.assert_allclose(family.kl(case.params, case.params), 0, atol=1e-6)


@with_capability("kl")
def test_kl_is_the_expected_log_ratio(name):
    family, case = FAMILIES[name](), CASES[name]
    x = draw(name)
    log_p, log_q = (
        jax.vmap(family.log_prob, in_axes=(None, 0))(params, x)
        for params in (case.params, case.others)
    )
    ratio = np.asarray(log_p - log_q, float)
    stderr = ratio.std() / np.sqrt(DRAWS)
    assert abs(ratio.mean() - family.kl(case.params, case.others)) < 4 * stderr
    # KL(q || p) is another number, and would be found.
    assert abs(ratio.mean() - family.kl(case.others, case.params)) > 8 * stderr


@with_capability("support")
def test_the_support_holds_every_outcome_once_and_sums_to_one(name):
    family, case = FAMILIES[name](), CASES[name]
    outcomes = family.support(case.params)
    assert outcomes.shape == (8, 3)
    assert len(np.unique(outcomes, axis=0)) == 8
    log_p = jax.vmap(family.log_prob, in_axes=(None, 0))(case.params, outcomes)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(
        np.exp(log_p) @ outcomes, family.mean(case.params), rtol=1e-5
    )


@with_capability("quadrature")
def test_quadrature_integrates_polynomials(name):
    with jax.enable_x64(True):
        params = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf)[:2], float), CASES[name].params
        )
        nodes, weights = FAMILIES[name]().quadrature(params, 48)
    nodes, weights = np.asarray(nodes), np.asarray(weights)
    assert nodes.shape == (48**2, 2)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
    twins = [
        scipy.stats.norm(loc, scale)
        for loc, scale in zip(params.loc, np.exp(params.log_scale), strict=True)
    ]
    for i in range(7):
        for j in range(7 - i):
            value = weights @ (nodes[:, 0] ** i * nodes[:, 1] ** j)
            truth = twins[0].moment(i) * twins[1].moment(j)
            np.testing.assert_allclose(value, truth, rtol=1e-9, err_msg=f"{i}, {j}")


@with_capability("reparam")
def test_samples_carry_the_gradient_of_an_expectation(name):
    """d/d theta E z^2 through the samples, where E z^2 = mean^2 + variance."""
    family, case = FAMILIES[name](), CASES[name]
    keys = jax.random.split(jax.random.key(3), DRAWS)

    def second_moment(params, key):
        return jnp.square(family.sample(key, params)).sum()

    slopes = jax.jit(jax.vmap(jax.grad(second_moment), in_axes=(None, 0)))
    slopes = slopes(case.params, keys)
    loc = slopes.loc if isinstance(slopes, NormalParams) else slopes
    truths = [(loc, 2 * case.twin(case.params).mean())]
    if isinstance(slopes, NormalParams):
        truths += [(slopes.log_scale, 2 * case.twin(case.params).var())]
    for slope, truth in truths:
        slope = np.asarray(slope, float)
        z = (slope.mean(0) - truth) / (slope.std(0) / np.sqrt(DRAWS))
        assert np.abs(z).max() < 4.5


# Extremes.


@pytest.mark.parametrize("logit", [-1e4, -88.0, -20.0, 0.0, 20.0, 88.0, 1e4])
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_bernoulli_is_exact_at_any_logit(logit, x):
    log_prob = bernoulli().log_prob
    value, slope = jax.value_and_grad(log_prob)(jnp.array([logit]), jnp.array([x]))
    # log sigmoid(l) = -log(1 + e^-l), in float64.
    truth = -np.logaddexp(0, -logit if x else logit)
    np.testing.assert_allclose(value, truth, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(
        slope, [x - scipy.special.expit(logit)], rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_bernoulli_has_finite_samples_kl_and_their_gradients(logit):
    family, logits = bernoulli(), jnp.array([logit])
    assert family.sample(jax.random.key(0), logits) in (0.0, 1.0)
    for other in (-1e4, 0.0, 1e4):
        value, slopes = jax.value_and_grad(family.kl, argnums=(0, 1))(
            logits, jnp.array([other])
        )
        p = scipy.special.expit(logit)
        truth = p * (np.logaddexp(0, -other)) + (1 - p) * np.logaddexp(0, other)
        entropy = scipy.special.entr(p) + scipy.special.entr(1 - p)
        np.testing.assert_allclose(value, truth - entropy, rtol=1e-6, atol=1e-6)
        assert np.isfinite(slopes).all()


@given(logit=st.floats(-1e4, 1e4, width=32), x=st.sampled_from([0.0, 0.25, 1.0]))
def test_bernoulli_is_never_above_zero_nor_nan(logit, x):
    value = bernoulli().log_prob(jnp.array([logit]), jnp.array([x]))
    assert np.isfinite(value)
    assert value <= 0


@pytest.mark.parametrize("x", [0.0, 0.3, 1.0])
def test_the_custom_derivative_is_that_of_finite_differences(x):
    logits, step = np.linspace(-6, 6, 25), 1e-5

    def log_prob(logits, x):  # float64, without our rule
        return x * logits - np.logaddexp(0, logits)

    by_logit = (log_prob(logits + step, x) - log_prob(logits - step, x)) / (2 * step)
    by_x = (log_prob(logits, x + step) - log_prob(logits, x - step)) / (2 * step)
    ours = jax.grad(bernoulli().log_prob, argnums=(0, 1))(
        jnp.asarray(logits, jnp.float32), jnp.full(25, x)
    )
    np.testing.assert_allclose(ours[0], by_logit, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours[1], by_x, rtol=1e-5, atol=1e-6)


def test_bernoulli_has_a_second_derivative():
    """- sigmoid(l) sigmoid(-l) by the logit, 1 mixed, 0 by x."""
    logits, x = jnp.array([-1e4, -2.0, 0.0, 1.5, 1e4]), jnp.array([1.0, 0, 1, 0, 0])
    hessian = jax.hessian(bernoulli().log_prob, argnums=(0, 1))(logits, x)
    expected = -scipy.special.expit(np.array(logits)) * scipy.special.expit(-logits)
    np.testing.assert_allclose(hessian[0][0], np.diag(expected), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(hessian[0][1], np.eye(5))
    np.testing.assert_array_equal(hessian[1][1], np.zeros((5, 5)))


@pytest.mark.parametrize("log_scale", [-30.0, -10.0, 0.0, 10.0, 30.0])
@pytest.mark.parametrize("deviations", [0.0, 1.0, -5.0, 1e3])
def test_normal_is_exact_at_any_scale(log_scale, deviations):
    family = FAMILIES["diagonal_normal"]()
    z = jnp.array([deviations * np.exp(log_scale)], jnp.float32)
    params = NormalParams(jnp.zeros(1), jnp.array([log_scale]))
    value, slopes = jax.value_and_grad(family.log_prob)(params, z)
    truth = scipy.stats.norm.logpdf(deviations) - log_scale
    np.testing.assert_allclose(value, truth, rtol=2e-5)
    np.testing.assert_allclose(
        slopes.loc, [deviations / np.exp(log_scale)], rtol=2e-5, atol=1e-30
    )
    np.testing.assert_allclose(
        slopes.log_scale, [deviations**2 - 1], rtol=2e-5, atol=1e-6
    )

    standard = NormalParams(jnp.zeros(1), jnp.zeros(1))
    kl = 0.5 * (np.exp(2 * log_scale) - 1) - log_scale
    np.testing.assert_allclose(family.kl(params, standard), kl, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, -0.1, float("nan")])
def test_fixed_normal_refuses_a_scale_that_is_none(scale):
    with pytest.raises(VaejaxError, match="use a standard deviation above 0"):
        fixed_normal(scale)


def test_fixed_normal_takes_its_scale():
    x, loc = jnp.array([0.5, 1.0]), jnp.array([0.0, 3.0])
    np.testing.assert_allclose(
        fixed_normal(2.0).log_prob(loc, x),
        scipy.stats.norm(np.array(loc), 2.0).logpdf(x).sum(),
        rtol=1e-6,
    )


# All together: the bound of a network, from the formulas alone.


def test_the_iwae_value_is_a_plain_numpy_computation():
    model = gaussian_mlp(data_shape=(2, 3), latent_dim=2, hidden=(5, 4))
    params = model.init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # biases start at zero
    example = Example(jnp.array([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]))
    problem = Problem(model=model, bound=iwae(), num_samples=7)
    key = jax.random.key(1)
    surrogate = jax.jit(pathwise().surrogate, static_argnums=0)
    value, _ = surrogate(problem, params, (), key, example)
    _, z = jax.jit(sample_posterior, static_argnums=0)(problem, params, key, example)

    def network(tree, rows):
        layers = [tree["layers"][i] for i in sorted(tree["layers"])]
        for i, layer in enumerate(layers):
            weights, bias = (np.asarray(layer[n], float) for n in ("kernel", "bias"))
            rows = rows @ weights + bias
            rows = np.tanh(rows) if i < len(layers) - 1 else rows
        return rows

    x, z = np.asarray(example.x, float).reshape(6), np.asarray(z, float)
    loc, log_scale = network(params.encoder, x).reshape(2, 2)
    logits = network(params.decoder, z)
    log_px_z = (x * logits - np.logaddexp(0, logits)).sum(-1)
    log_pz = -0.5 * (z**2 + np.log(2 * np.pi)).sum(-1)
    noise = (z - loc) / np.exp(log_scale)
    log_qz = -(0.5 * noise**2 + 0.5 * np.log(2 * np.pi) + log_scale).sum(-1)
    expected = np.log(np.mean(np.exp(log_px_z + log_pz - log_qz)))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.std(noise) > 0.3  # seven different samples, or it would show nothing
