"""VaDE: its bound, its start, and that clusters come out as they went in."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import (
    BOUNDS,
    ESTIMATORS,
    Example,
    IncompatibleError,
    VaejaxError,
    make_objective,
)
from vaejax.evaluation import clustering_accuracy
from vaejax.families import diagonal_normal, full_normal, mixture, shared_mixture
from vaejax.models import vade
from vaejax.models.vade import cluster_log_probs, fit_mixture
from vaejax.training import fit, init_state, of_seed, several_seeds

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
SMALL = {"data_shape": (5, 4, 1), "latent_dim": 3, "num_components": 4, "hidden": (8,)}


def test_the_bound_is_the_papers_at_its_best_q_of_c_and_no_other_reaches_it():
    model = vade(**SMALL)
    params = model.init(KEY)
    log_weights, components = params.prior
    log_weights += jnp.array([0.0, 1.0, -1.0, 0.5])
    params = params._replace(prior=params.prior._replace(log_weights=log_weights))
    z = jnp.array([0.3, -0.8, 0.5])
    given = jax.vmap(diagonal_normal().log_prob, (0, None))(components, z)
    joint = jax.nn.log_softmax(log_weights) + given
    marginal = model.latent_prior.log_prob(model.prior(params, None), z)

    def papers(log_q):
        return jnp.exp(log_q) @ (joint - log_q)

    best = cluster_log_probs(params, z)
    assert papers(best) == pytest.approx(float(marginal), abs=1e-5)
    others = jax.nn.log_softmax(best[None] + jax.random.normal(KEY, (50, 4)))
    assert jax.vmap(papers)(others).max() < marginal - 1e-3


def test_the_fitted_mixture_is_the_one_that_the_codes_are_from():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 3000, p=[0.5, 0.3, 0.2])
    loc = np.array([[0.0, 0], [6, 0], [0, 6]])
    scale = np.array([[1.0, 0.3], [0.5, 2], [1, 1]])
    codes = loc[labels] + scale[labels] * rng.normal(size=(3000, 2))
    log_weights, found = fit_mixture(codes, 3, seed=1)
    order = np.argmin(((loc[:, None] - found.loc[None]) ** 2).sum(-1), 1)
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(found.loc[order], loc, atol=0.15)
    np.testing.assert_allclose(np.exp(found.log_scale[order]), scale, rtol=0.1)
    np.testing.assert_allclose(np.exp(log_weights), 1 / 3, rtol=1e-6)


def test_there_may_be_as_many_clusters_as_codes_and_no_more(monkeypatch):
    codes = np.random.default_rng(0).normal(size=(8, 2))
    monkeypatch.setitem(fit_mixture.__globals__, "MOST_CODES", 3)
    assert fit_mixture(codes, 8, seed=0).components.loc.shape == (8, 2)
    with pytest.raises(VaejaxError, match="num_components is 9, and there are only 8"):
        fit_mixture(codes, 9, seed=0)


def test_full_covariances_are_fitted_and_give_the_mixtures_own_density():
    rng = np.random.default_rng(0)
    factor = np.array([[1.0, 0.0], [1.5, 0.5]])
    codes = np.concatenate([rng.normal(size=(4000, 2)) @ factor.T, [[9, 9.0]] * 200])
    codes += 0.05 * rng.normal(size=codes.shape)
    fitted = fit_mixture(codes, 2, seed=1, covariance="full")
    one = int(np.argmin(np.abs(fitted.components.loc).sum(1)))
    found = np.asarray(fitted.components.factor[one])
    np.testing.assert_allclose(np.exp(np.diag(found)), np.diag(factor), rtol=0.05)
    np.testing.assert_allclose(found[1, 0], factor[1, 0], rtol=0.05)

    def value_and_gradient(family):
        return jax.value_and_grad(lambda *given: family.log_prob(*given), (0, 1))(
            fitted, jnp.array([0.3, -0.7])
        )

    own, plain = map(
        value_and_gradient, (shared_mixture(full_normal(2)), mixture(full_normal(2)))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), own, plain)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_training_starts_at_the_clusters_of_the_codes(covariance):
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=1200)
    patterns = rng.integers(2, size=(4, 5, 4, 1))
    x = jnp.asarray(rng.normal(patterns[labels], 0.05), jnp.float32)
    given = {"hidden": (64,), "likelihood": "fixed_normal"}
    model = vade(**SMALL | given, covariance=covariance)
    before = model.init(KEY)
    assert model.extras.start is not None
    after = model.extras.start(before, Example(x), KEY)

    def accuracy(params):
        means = jax.vmap(lambda one: model.encode(params, Example(one)).loc)(x)
        found = jax.vmap(lambda z: cluster_log_probs(params, z).argmax())(means)
        return clustering_accuracy(labels, np.asarray(found))

    assert accuracy(after) > 0.95
    assert accuracy(before) < 0.9  # or the test could not fail
    same = jax.tree.map(
        np.array_equal, after._replace(prior=()), before._replace(prior=())
    )
    assert all(jax.tree.leaves(same))


def test_training_finds_clusters_again_that_the_mixture_has_lost():
    """Both components are moved along the line between them, past the first cluster."""
    num_seeds, size = 8, 300
    rng = np.random.default_rng(0)
    labels = np.arange(size) % 2
    centres = 1.5 * rng.normal(size=(2, 8))
    x = jnp.asarray(rng.normal(centres[labels], 0.5), jnp.float32)
    given = {"likelihood": "fixed_normal", "likelihood_settings": {"scale": 0.5}}
    model = vade((8,), latent_dim=4, num_components=2, hidden=(16,), **given)
    assert model.extras.start is not None
    one = make_objective(
        model, BOUNDS["elbo"](), ESTIMATORS["pathwise"](), num_samples=1
    )
    objective = several_seeds(one, num_seeds)

    def moved(params):
        components = model.extras.start(params, Example(x), KEY).prior.components
        loc = components.loc + 0.7 * jnp.diff(components.loc, axis=0)
        prior = params.prior._replace(components=components._replace(loc=loc))
        return params._replace(prior=prior)

    @jax.jit
    @jax.vmap
    def clusters(params):
        means = jax.vmap(lambda one: model.encode(params, Example(one)).loc)(x)
        return jax.vmap(lambda z: cluster_log_probs(params, z).argmax())(means)

    def accuracies(params):
        return np.array(
            [clustering_accuracy(labels, own) for own in np.asarray(clusters(params))]
        )

    untrained, _ = objective.init(KEY)
    by_seed = [moved(of_seed(untrained, seed)) for seed in range(num_seeds)]
    start = jax.tree.map(lambda *own: jnp.stack(own), *by_seed)

    def trained(rate):
        adam = optax.adam(rate)
        state = init_state(objective, adam, KEY)
        state = state._replace(params=jax.tree.map(jnp.copy, start))  # it is donated
        settings = {"epochs": 130, "batch_size": 100, "key": KEY}
        end = fit(objective, adam, Example(x), state=state, **settings)
        return accuracies(end.params)

    before = accuracies(start)
    assert before.max() < 0.8
    after = trained(optax.cosine_decay_schedule(2e-2, 390))
    assert np.sum(after > 0.98) >= 6  # in some, both components come to be one
    np.testing.assert_array_equal(trained(0.0), before)


def test_the_autoencoder_has_the_same_networks_and_no_density():
    model, first = vade(**SMALL), vade(**SMALL, autoencoder=True)
    shapes = [
        jax.tree.map(jnp.shape, jax.eval_shape(one.init, KEY)) for one in (model, first)
    ]
    assert shapes[0] == shapes[1]
    q = first.encode(first.init(KEY), Example(jnp.ones((5, 4, 1))))
    np.testing.assert_array_equal(first.posterior.sample(KEY, q), q.loc)
    assert first.extras.start is None
    pathwise = ESTIMATORS["pathwise"]()
    make_objective(first, BOUNDS["reconstruction"](), pathwise, num_samples=1)
    with pytest.raises(IncompatibleError, match="reconstruction"):
        make_objective(first, BOUNDS["elbo"](), pathwise, num_samples=1)
