"""The oracle itself: closed form, quadrature, enumeration and brute force agree."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax.lax import stop_gradient

from vaejax import exact
from vaejax.bounds import elbo, elbo_analytic_kl, iwae
from vaejax.core import (
    Estimator,
    Example,
    Extras,
    IncompatibleError,
    Problem,
    VaejaxError,
    Verdict,
)
from vaejax.estimators import dreg
from vaejax.models import family_mlp, gaussian_mlp, linear_gaussian
from vaejax.models.linear_gaussian import exact_elbo, exact_log_px, exact_posterior
from vaejax.terms import log_terms

pytestmark = pytest.mark.slow

# The product rule over K copies, in place of Frullani's integral.
IWAE_BY_PRODUCT = dataclasses.replace(iwae(), expectation=lambda k: None)


def solve(name: str, bound, num_samples: int, **settings) -> exact.Exact:
    problem = Problem(model=oracles.MODELS[name], bound=bound, num_samples=num_samples)
    return exact.value_and_gradient(
        problem, oracles.params_of(name), oracles.examples_of(name), **settings
    )


def test_linear_gaussian_elbo_is_the_closed_form():
    model, params = (
        oracles.MODELS["linear_gaussian"],
        oracles.params_of("linear_gaussian"),
    )

    def mean_elbo(params):
        x = oracles.examples_of("linear_gaussian").x
        return jax.vmap(lambda x: exact_elbo(model, params, x))(x).mean()

    value, gradient = jax.value_and_grad(mean_elbo)(params)
    assert solve("linear_gaussian", elbo(), 1).value == pytest.approx(
        float(value), rel=1e-5
    )
    by_quadrature = dataclasses.replace(model, extras=Extras())
    for bound, num_samples in ((elbo(), 1), (elbo(), 7), (elbo_analytic_kl(), 2)):
        problem = Problem(model=by_quadrature, bound=bound, num_samples=num_samples)
        examples = oracles.examples_of("linear_gaussian")
        found = exact.value_and_gradient(problem, params, examples)
        np.testing.assert_allclose(found.value, value, rtol=1e-5)
        np.testing.assert_allclose(
            oracles.flat(found.gradient), oracles.flat(gradient), rtol=1e-4, atol=1e-4
        )


def test_linear_gaussian_log_px_and_posterior_are_bayes_rule():
    """log p(x|z) + log p(z) - log p(z|x) is log p(x), whatever z."""
    model, params = (
        oracles.MODELS["linear_gaussian"],
        oracles.params_of("linear_gaussian"),
    )
    x = oracles.examples_of("linear_gaussian").x[0]
    posterior = exact_posterior(params, x)
    z = jnp.linspace(-2, 2, 5)[:, None]
    q = model.encode(params, Example(x))._replace(
        loc=posterior.mean, log_scale=0.5 * jnp.log(jnp.diagonal(posterior.covariance))
    )
    log_w = sum(
        sign * term
        for sign, term in zip(
            (1, 1, -1), log_terms(model, params, q, z, Example(x)), strict=True
        )
    )
    np.testing.assert_allclose(log_w, exact_log_px(params, x), rtol=1e-5)


# Of one latent each, or discrete: two dimensions have too many pairs of nodes.
@pytest.mark.parametrize(
    "name",
    [*oracles.CORE, "mixture_model", "two_layers_of_bits", "gamma", "truncated_normal"],
)
def test_frullanis_integral_is_the_product_rule(name):
    product, integral = (
        solve(name, bound, 2, tolerance=1e-9) for bound in (IWAE_BY_PRODUCT, iwae())
    )
    np.testing.assert_allclose(integral.value, product.value, rtol=1e-8)
    np.testing.assert_allclose(
        oracles.flat(integral.gradient), oracles.flat(product.gradient), atol=1e-8
    )


def test_enumeration_is_brute_force():
    """IWAE_2 of three binary latents: 64 pairs of outcomes, in plain NumPy loops."""
    name = "sigmoid_belief_network"
    model, params = oracles.MODELS[name], oracles.params_of(name)
    total = 0.0
    for x in oracles.examples_of(name).x:
        example = Example(x)
        logits = model.encode(params, example)
        outcomes = jnp.array(list(itertools.product((0.0, 1.0), repeat=3)))
        terms = log_terms(model, params, logits, outcomes, example)
        log_q = np.asarray(terms.log_qz, np.float64)
        log_w = np.asarray(terms.log_px_z + terms.log_pz, np.float64) - log_q
        for i, j in itertools.product(range(8), repeat=2):
            chance = np.exp(log_q[i] + log_q[j])
            total += chance * np.log((np.exp(log_w[i]) + np.exp(log_w[j])) / 2)
    count = len(oracles.examples_of(name).x)
    found = solve(name, iwae(), 2)
    np.testing.assert_allclose(found.value, total / count, rtol=1e-5)


@pytest.mark.parametrize("name", [*oracles.CORE, "two_normals", "gamma", "dirichlet"])
def test_the_gradient_is_that_of_the_value(name):
    """Central differences in float64, along a random direction."""
    params = oracles.params_of(name)
    problem = Problem(model=oracles.MODELS[name], bound=iwae(), num_samples=3)
    examples = oracles.examples_of(name)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)

    def value_at(step: float) -> float:
        moved = jax.tree.map(
            lambda leaf, d: np.asarray(np.float64(leaf) + step * d), params, direction
        )
        return exact.value_and_gradient(problem, moved, examples, tolerance=1e-9).value

    found = exact.value_and_gradient(problem, params, examples, tolerance=1e-9)
    slope = oracles.flat(found.gradient) @ oracles.flat(direction)
    difference = (value_at(1e-4) - value_at(-1e-4)) / 2e-4
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_iwae_tends_to_log_px():
    name = "linear_gaussian"
    params, x = oracles.params_of(name), oracles.examples_of(name).x
    log_px = float(jax.vmap(lambda x: exact_log_px(params, x))(x).mean())
    gaps = [log_px - solve(name, iwae(), k).value for k in (1, 30, 1000, 30_000)]
    assert all(a > b > -1e-5 for a, b in itertools.pairwise(gaps))
    assert gaps[-1] < 1e-2 * gaps[0]


def test_an_estimators_own_target_is_honoured():
    """Wake-phi of reweighted wake-sleep: E sum_k w~_k log q(z_k; lam), at K = 2."""

    def target(problem, params, example, expectation):
        def inner(terms):
            log_w = stop_gradient(problem.bound.log_weight(terms))
            return jnp.dot(jax.nn.softmax(log_w), terms.log_qz)

        return expectation.through_densities(inner)

    estimator = Estimator(
        name="wake_phi",
        surrogate=dreg().surrogate,
        check=lambda problem: Verdict("unbiased", "for its own target"),
        target=target,
    )
    name = "sigmoid_belief_network"
    found = solve(name, iwae(), 2, estimator=estimator)
    model, params = oracles.MODELS[name], oracles.params_of(name)
    outcomes = jnp.array(list(itertools.product((0.0, 1.0), repeat=3)))
    pairs = np.array(list(itertools.product(range(8), repeat=2)))

    def expected(params):
        total = 0.0
        for x in oracles.examples_of(name).x:
            logits = model.encode(params, Example(x))
            terms = log_terms(model, params, logits, outcomes, Example(x))
            log_w = terms.log_px_z + terms.log_pz - terms.log_qz
            pair_weights = jax.nn.softmax(log_w[pairs], axis=1)
            probability = jnp.exp(terms.log_qz[pairs].sum(1))
            summands = stop_gradient(pair_weights) * terms.log_qz[pairs]
            total += jnp.dot(stop_gradient(probability), summands.sum(1)) / 2
        return total

    np.testing.assert_allclose(
        oracles.flat(found.gradient),
        oracles.flat(jax.grad(expected)(params)),
        rtol=1e-4,
        atol=1e-6,
    )
    # The value stays the bound's.
    assert found.value == pytest.approx(solve(name, iwae(), 2).value, abs=1e-9)


@pytest.mark.parametrize("log_rate", [-2.0, 3.0, 5.6, 7.5])
def test_nodes_find_the_mass_of_a_poisson_posterior(log_rate):
    """E log p(x|z) - KL where the decoder ignores z and the prior's rate is 1."""
    model = family_mlp((2,), posterior="poisson", latent_dim=1, hidden=())
    params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
    params.encoder["layers"][0]["bias"] += log_rate
    problem = Problem(model=model, bound=elbo(), num_samples=1)
    found = exact.value_and_gradient(problem, params, Example(jnp.zeros((1, 2))))
    rate = np.exp(log_rate)
    expected = -2 * np.log(2) - (rate * log_rate - rate + 1)
    assert found.value == pytest.approx(expected, rel=1e-6)


def test_nodes_that_miss_the_mass_are_no_answer(monkeypatch):
    model = oracles.MODELS["diagonal_normal"]

    def nowhere(params, num_nodes):
        z, weights = model.posterior.quadrature(params, num_nodes)
        return z, 0 * weights

    posterior = dataclasses.replace(model.posterior, quadrature=nowhere)
    problem = Problem(
        model=dataclasses.replace(model, posterior=posterior),
        bound=elbo(),
        num_samples=1,
    )
    at = oracles.params_of("diagonal_normal"), oracles.examples_of("diagonal_normal")
    with pytest.raises(VaejaxError, match="did not converge"):
        exact.value_and_gradient(problem, *at)


def test_the_closed_form_serves_where_no_quadrature_can():
    model = linear_gaussian(data_shape=(4,), latent_dim=5)
    params = jax.tree.map(lambda leaf: leaf + 0.1, model.init(jax.random.key(0)))
    x = jnp.array([[0.9, -0.4, 1.3, 0.2]])
    problem = Problem(model=model, bound=elbo(), num_samples=3)
    found = exact.value_and_gradient(problem, params, Example(x))
    value, gradient = jax.value_and_grad(exact_elbo, 1)(model, params, x[0])
    np.testing.assert_allclose(found.value, value, rtol=1e-5)
    np.testing.assert_allclose(
        oracles.flat(found.gradient), oracles.flat(gradient), rtol=1e-3, atol=1e-5
    )


def test_large_models_are_named_with_the_remedy():
    model = gaussian_mlp(data_shape=(4,), latent_dim=10, hidden=(5,))
    examples = Example(jnp.zeros((1, 4)))
    params = model.init(jax.random.key(0))
    problem = Problem(model=model, bound=elbo(), num_samples=1)
    with pytest.raises(
        IncompatibleError, match=r"use a smaller latent_dim, or .*reference estimator"
    ):
        exact.value_and_gradient(problem, params, examples)


def test_a_product_that_is_too_large_is_refused():
    with pytest.raises(IncompatibleError, match="use a smaller K"):
        solve("linear_gaussian", IWAE_BY_PRODUCT, 6)


def test_an_unreachable_tolerance_is_an_error():
    with pytest.raises(VaejaxError, match="did not converge"):
        solve("linear_gaussian", iwae(), 2, tolerance=0.0)


@pytest.mark.parametrize("latent_dim", [17, 50, 200])
def test_networks_of_any_size_are_refused_at_once(latent_dim):
    model = gaussian_mlp((2,), latent_dim=latent_dim, hidden=())
    problem = Problem(model=model, bound=iwae(), num_samples=2)
    example = Example(jnp.zeros((1, 2)))
    with pytest.raises(IncompatibleError, match=r"nodes in .* coordinates"):
        exact.value_and_gradient(problem, model.init(jax.random.key(0)), example)


def test_nodes_are_counted_by_free_coordinates():
    """Three on the simplex are two; the circle is one, at any concentration."""
    simplex = family_mlp((2,), posterior="dirichlet", latent_dim=3, hidden=())
    circle = family_mlp((2,), posterior="von_mises_fisher", latent_dim=2, hidden=())
    example = Example(jnp.array([[1.0, 0.0]]))
    for model in (simplex, circle):
        params = model.init(jax.random.key(0))
        if model is circle:
            bias = jnp.array([1.0, 0.0, 7.0, 7.0])  # log concentration 7
            params.encoder["layers"][0]["bias"] = bias
        problem = Problem(model=model, bound=elbo(), num_samples=1)
        found = exact.value_and_gradient(problem, params, example)
        by_kl = dataclasses.replace(problem, bound=elbo_analytic_kl())
        if model is circle:  # its prior is of the same family, and its KL is known
            assert found.value == pytest.approx(
                exact.value_and_gradient(by_kl, params, example).value, abs=1e-5
            )
    ball = family_mlp((2,), posterior="von_mises_fisher", latent_dim=3, hidden=())
    with pytest.raises(IncompatibleError, match=r"in 3 dimensions .* use 2 dimensions"):
        exact.value_and_gradient(
            Problem(model=ball, bound=elbo(), num_samples=1),
            ball.init(jax.random.key(0)),
            example,
        )
