"""Families against scipy: densities, samples, divergences, extremes, derivatives.

A new family is under test by its registry line and one row of `family_cases.CASES`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from family_cases import CASES, DRAWS, draw, with_capability
from hypothesis import given
from hypothesis import strategies as st

from vaejax.bounds import iwae
from vaejax.core import Example, Problem, VaejaxError
from vaejax.estimators import pathwise
from vaejax.families import FAMILIES, NormalParams, bernoulli, fixed_normal
from vaejax.models import gaussian_mlp
from vaejax.terms import sample_posterior

pytestmark = pytest.mark.slow

every_family = pytest.mark.parametrize("name", CASES)
coordinatewise = pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if not case.joint]
)


def twin_log_prob(name: str, x) -> np.ndarray:
    case = CASES[name]
    twin = case.twin(case.params)
    density = twin.logpmf if case.discrete else twin.logpdf
    return density(np.asarray(x, float)).sum(-1)


def test_every_family_has_a_case():
    """Flows have no twin and no case: see `test_flows.py`."""
    flows = {
        name
        for name, family in FAMILIES.items()
        if family().own_samples.sample_and_log_prob
    }
    assert set(CASES) | flows == set(FAMILIES)


@every_family
def test_log_prob_is_scipys(name):
    x = draw(name, 50)
    family = CASES[name].family(name)
    log_prob = jax.jit(jax.vmap(family.log_prob, in_axes=(None, 0)))
    value = log_prob(CASES[name].params, x)
    np.testing.assert_allclose(value, twin_log_prob(name, x), rtol=1e-5, atol=1e-5)


@every_family
def test_vmapped_log_prob_is_a_loop(name):
    x, family = draw(name, 8), CASES[name].family(name)
    log_prob = jax.jit(family.log_prob)
    together = jax.vmap(log_prob, in_axes=(None, 0))(CASES[name].params, x)
    loop = [log_prob(CASES[name].params, one) for one in x]
    np.testing.assert_allclose(together, jnp.stack(loop), rtol=1e-5, atol=1e-6)


@coordinatewise
def test_an_event_has_any_shape(name):
    """[3] and [1, 3, 1] are the same event."""
    family, case = CASES[name].family(name), CASES[name]
    # Any components come before an event's own axes.
    shaped = jax.tree.map(
        lambda leaf: leaf.reshape(*leaf.shape[:-1], 1, 3, 1), case.params
    )
    x = family.sample(jax.random.key(0), case.params)
    same = family.sample(jax.random.key(0), shaped)
    assert same.shape == (1, 3, 1)
    np.testing.assert_allclose(same.reshape(-1), x, rtol=1e-6)
    np.testing.assert_allclose(
        family.log_prob(shaped, same), family.log_prob(case.params, x), rtol=1e-6
    )


@every_family
def test_samples_follow_the_distribution(name):
    x, case = np.asarray(draw(name), float), CASES[name]
    twin = case.twin(case.params)
    if name == "categorical":
        tables = [(x[:, i].sum(0), DRAWS * twin.mean()[i]) for i in range(2)]
    elif case.discrete:
        tables = [counts_and_expected(x[:, i], case, i) for i in range(3)]
    else:  # quantiles are uniform
        tables = None
        tests = [scipy.stats.kstest(u, "uniform") for u in twin.cdf(x).T]
    if tables:
        tests = [scipy.stats.chisquare(*table) for table in tables]
    # 80 tests in all: 1% that one of them fails by chance.
    assert min(test.pvalue for test in tests) > 1e-2 / 80
    if not case.joint:  # coordinates are independent
        correlation = np.corrcoef(x.T)[np.triu_indices(3, 1)]
        assert np.abs(correlation).max() < 4.5 / np.sqrt(DRAWS)


def counts_and_expected(x, case, coordinate):
    """The counts of each outcome, drawn and expected, rare ones pooled."""
    outcomes = case.unit * np.arange(100)
    expected = DRAWS * case.twin(case.params).pmf(outcomes[:, None])[:, coordinate]
    counts = np.bincount(np.rint(x / case.unit).astype(int), minlength=100)
    assert counts.size == 100
    common = expected >= 5
    pooled = [
        np.append(row[common], row[~common].sum() + extra)
        for row, extra in ((counts, 0.0), (expected, DRAWS - expected.sum()))
    ]
    return pooled if pooled[1][-1] > 1e-3 else [row[:-1] for row in pooled]


@every_family
def test_the_sampling_test_sees_other_parameters(name):
    x, case = np.asarray(draw(name), float), CASES[name]
    z = (x.mean(0) - case.twin(case.others).mean()) / (x.std(0) / np.sqrt(DRAWS))
    assert np.abs(z).min() > 5, z


@every_family
def test_mean_is_scipys_and_survives_the_networks_outputs(name):
    family, case = CASES[name].family(name), CASES[name]
    np.testing.assert_allclose(
        family.mean(case.params), case.twin(case.params).mean(), rtol=1e-5
    )
    mean = jnp.array(case.means)
    own = () if family.head.weights is None else family.head.weights(jax.random.key(0))
    outputs = family.head.to_outputs(mean)
    coordinates = mean.shape[:-1] if name == "categorical" else mean.shape
    assert outputs.shape == (family.head.outputs_per_coordinate, *coordinates)
    np.testing.assert_allclose(
        family.mean(family.head.read(outputs, own)), mean, rtol=1e-5
    )


def test_a_pixel_that_is_always_on_starts_at_a_finite_logit():
    family = bernoulli()
    outputs = family.head.to_outputs(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(
        family.mean(family.head.from_outputs(outputs)), [0.001, 0.999], rtol=1e-4
    )


# Capabilities.


@pytest.mark.parametrize("name", ["bernoulli", "diagonal_normal"])
def test_kl_is_the_closed_form(name):
    family, case = CASES[name].family(name), CASES[name]
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


@pytest.mark.parametrize("name", with_capability("kl"))
def test_kl_is_the_expected_log_ratio(name):
    family, case = CASES[name].family(name), CASES[name]
    x, kl = draw(name), jax.jit(family.kl)
    log_prob = jax.jit(jax.vmap(family.log_prob, in_axes=(None, 0)))
    log_p, log_q = (log_prob(params, x) for params in (case.params, case.others))
    ratio = np.asarray(log_p - log_q, float)
    stderr = ratio.std() / np.sqrt(DRAWS)
    assert abs(ratio.mean() - kl(case.params, case.others)) < 4 * stderr
    # KL(q || p) is another number, and would be found.
    assert abs(ratio.mean() - kl(case.others, case.params)) > 8 * stderr


@pytest.mark.parametrize("name", with_capability("outcomes"))
def test_the_support_holds_every_outcome_once_and_sums_to_one(name):
    family, case = CASES[name].family(name), CASES[name]
    outcomes = family.outcomes.support(case.params)
    count = {"bernoulli": 2**3, "categorical": 3**2}[name]
    assert outcomes.shape == (count, *case.params.shape)
    assert len(np.unique(outcomes, axis=0)) == count
    log_p = jax.vmap(family.log_prob, in_axes=(None, 0))(case.params, outcomes)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(
        np.tensordot(np.exp(log_p), outcomes, 1), family.mean(case.params), rtol=1e-5
    )


@pytest.mark.parametrize("name", ["diagonal_normal"])
def test_quadrature_integrates_polynomials(name):
    with jax.enable_x64(True):
        params = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf)[:2], float), CASES[name].params
        )
        nodes, weights = CASES[name].family(name).quadrature(params, 48)
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


@pytest.mark.parametrize("name", ["diagonal_normal", "fixed_normal"])
def test_samples_carry_the_gradient_of_an_expectation(name):
    """d/d theta E z^2 through the samples, where E z^2 = mean^2 + variance."""
    family, case = CASES[name].family(name), CASES[name]
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


def square_gradient(name, params, num_nodes):
    """The gradient of E sum_i (z_i + z_i^2), by the family's own rule."""
    quadrature = CASES[name].family(name).quadrature

    @jax.grad
    def gradient(params):
        z, weights = quadrature(params, num_nodes)
        return weights @ (z + z**2).sum(-1)

    return jax.jit(gradient)(params)


def two_coordinates(name):
    """The case's parameters of its first two coordinates, in float64."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(np.asarray(leaf)[(slice(2),) * leaf.ndim], float),
        CASES[name].params,
    )


@pytest.mark.parametrize("name", with_capability("quadrature"))
def test_quadrature_converges_with_its_gradient(name):
    with jax.enable_x64(True):
        params, family = two_coordinates(name), CASES[name].family(name)
        z, weights = jax.jit(family.quadrature, static_argnums=1)(params, 128)
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-10)
        # 1e-7: a logit-normal mean is itself integrated.
        np.testing.assert_allclose(weights @ z, family.mean(params), rtol=1e-7)
        coarse, fine = (square_gradient(name, params, nodes) for nodes in (128, 256))
        for one, two in zip(*map(jax.tree.leaves, (coarse, fine)), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-10)

        def mean_by_quadrature(params):
            z, weights = family.quadrature(params, 128)
            return weights @ z @ jnp.array([1.0, -0.7])

        slopes = jax.jit(jax.grad(mean_by_quadrature))(params)
        truth = jax.jit(
            jax.grad(lambda params: family.mean(params) @ jnp.array([1.0, -0.7]))
        )
        for one, two in zip(
            *map(jax.tree.leaves, (slopes, truth(params))), strict=True
        ):
            np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", with_capability("kl", "quadrature"))
def test_kl_is_the_integral_of_the_log_ratio(name):
    with jax.enable_x64(True):
        family, case = CASES[name].family(name), CASES[name]
        p = two_coordinates(name)
        q = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf)[(slice(2),) * leaf.ndim], float),
            case.others,
        )
        z, weights = jax.jit(family.quadrature, static_argnums=1)(p, 128)
        log_prob = jax.jit(jax.vmap(family.log_prob, in_axes=(None, 0)))
        log_p, log_q = (log_prob(params, z) for params in (p, q))
        # 1e-6: nodes of a beta distribution near 1 are rounded to it.
        np.testing.assert_allclose(family.kl(p, q), weights @ (log_p - log_q), 1e-6)
        np.testing.assert_allclose(family.kl(p, p), 0, atol=1e-12)


@pytest.mark.parametrize("name", with_capability("reparam", "quadrature"))
def test_samples_carry_the_gradient_of_the_integral(name):
    family = CASES[name].family(name)
    with jax.enable_x64(True):
        truth = square_gradient(name, two_coordinates(name), 128)
    with jax.enable_x64(False):
        params = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf)[(slice(2),) * leaf.ndim]),
            CASES[name].params,
        )
        keys = jax.random.split(jax.random.key(3), DRAWS)

        def square(params, key):
            z = family.sample(key, params)
            return (z + z**2).sum()

        slopes = jax.jit(jax.vmap(jax.grad(square), in_axes=(None, 0)))(params, keys)
    for slope, expected in zip(*map(jax.tree.leaves, (slopes, truth)), strict=True):
        slope = np.asarray(slope, float)
        stderr = slope.std(0) / np.sqrt(DRAWS) + 1e-6
        assert np.abs((slope.mean(0) - np.asarray(expected)) / stderr).max() < 4.5


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
    with pytest.raises(VaejaxError, match=r"number (above|from)"):
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
