"""Chains of latents are their product, and the ladder's posterior meets its prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaejax.bounds import iwae
from vaejax.core import Batch, Example, VaejaxError
from vaejax.estimators import dreg, gdreg, pathwise, stl
from vaejax.families import ChainParams, NormalParams, chain, diagonal_normal
from vaejax.families.hierarchical import linear
from vaejax.models import hierarchical_mlp, ladder_mlp
from vaejax.models.ladder import Stage, _meet
from vaejax.nets import mlp
from vaejax.objective import make_objective

DIMS = (3, 2, 4)  # z_1, z_2, z_3


def linear_chain(top_down: bool) -> tuple[ChainParams, np.ndarray, np.ndarray]:
    """Three layers, with the mean and covariance of all in one vector, z_1 first."""
    rng = np.random.default_rng(0)
    order = DIMS[::-1] if top_down else DIMS
    means = [rng.normal(size=order[0])]
    scales = [rng.uniform(0.5, 1.5, size=dim) for dim in order]
    rest, maps = [], [np.eye(order[0])]  # from the noise of all to each layer
    total = sum(order)
    rows = [np.zeros((order[0], total))]
    rows[0][:, : order[0]] = np.diag(scales[0])
    at = order[0]
    for dim, scale in zip(order[1:], scales[1:], strict=True):
        weight, bias = rng.normal(size=(dim, maps[-1].shape[0])), rng.normal(size=dim)
        rest.append({"weight": weight, "bias": bias, "log_scale": np.log(scale)})
        means.append(weight @ means[-1] + bias)
        row = weight @ rows[-1]
        row[:, at : at + dim] += np.diag(scale)
        rows.append(row)
        maps.append(np.eye(dim))
        at += dim
    step = -1 if top_down else 1
    factor = np.concatenate(rows[::step])
    first = NormalParams(jnp.asarray(means[0]), jnp.log(jnp.asarray(scales[0])))
    return (
        jax.tree.map(jnp.float32, ChainParams(first, tuple(rest))),
        np.concatenate(means[::step]),
        factor @ factor.T,
    )


@pytest.mark.parametrize("top_down", [True, False])
def test_a_linear_chain_is_one_normal_distribution(top_down):
    family = chain(diagonal_normal(), [linear, linear], top_down)
    params, mean, covariance = linear_chain(top_down)
    keys = jax.random.split(jax.random.key(0), 20_000)
    z = jax.jit(jax.vmap(family.sample, (0, None)))(keys, params)
    assert [leaf.shape[1] for leaf in z] == list(DIMS)
    joint = scipy.stats.multivariate_normal(mean, covariance)
    vectors = np.concatenate([np.asarray(leaf, float) for leaf in z], 1)
    found = jax.vmap(family.log_prob, (None, 0))(params, z)
    np.testing.assert_allclose(found, joint.logpdf(vectors), atol=1e-3)
    error = np.sqrt(np.diag(covariance) / len(vectors))
    assert np.abs((vectors.mean(0) - mean) / error).max() < 4.5
    again = jax.vmap(family.retrace, (None, 0))(params, z)
    for one, other in zip(again, z, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("extreme", [0.0, 40.0, -40.0])
def test_the_ladder_weighs_by_precision(extreme):
    network = mlp(2, (), 6)
    weights = network.init(jax.random.key(0))
    above = jnp.array([0.3, -1.0])
    upward = NormalParams(jnp.array([1.0, -2.0, 0.5]), jnp.array([0.1, -0.4, 0.2]))
    upward = upward._replace(log_scale=upward.log_scale + extreme)
    found = _meet(network, Stage(upward, weights), above)
    m_p, log_p = np.asarray(network.apply(weights, above), float).reshape(2, 3)
    m_q, log_q = (np.asarray(leaf, float) for leaf in upward)
    precision = np.exp(-2 * log_q) + np.exp(-2 * log_p)
    mean = (m_q * np.exp(-2 * log_q) + m_p * np.exp(-2 * log_p)) / precision
    np.testing.assert_allclose(found.loc, mean, rtol=1e-4)
    np.testing.assert_allclose(found.log_scale, -0.5 * np.log(precision), rtol=1e-4)


SIZES = {"data_shape": (5,), "latent_dims": (3, 2, 2), "hidden": (6, 5, 4)}


def test_where_x_says_nothing_the_ladder_is_its_prior():
    model = ladder_mlp(**SIZES)
    params = model.init(jax.random.key(0))
    encoded = model.encode(params, Example(jnp.ones(5)))
    silent = [
        stage._replace(upward=NormalParams(stage.upward.loc, jnp.full(dim, 30.0)))
        for stage, dim in zip(encoded.rest, (2, 3), strict=True)
    ]
    prior = model.prior(params, None)
    posterior = ChainParams(prior.first, tuple(silent))
    z = model.latent_prior.sample(jax.random.key(1), prior)
    ours, theirs = (
        family.log_prob(own, z)
        for family, own in (
            (model.posterior, posterior),
            (model.latent_prior, prior),
        )
    )
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_estimators_of_the_path_agree_on_a_ladder():
    """Their mean gradients in the encoder, each against pathwise, in z-scores."""
    model = ladder_mlp(**SIZES, num_hidden=1)
    x = jnp.array([[1.0, 0.0, 1.0, 1.0, 0.0]])
    batch, draws, folds = Batch(Example(x), jnp.arange(1)), 4000, 20

    def mean_gradients(estimator):
        objective = make_objective(
            model, iwae(), estimator, num_samples=3, allow_bias=True
        )
        params, state = objective.init(jax.random.key(0))

        @jax.jit
        def fold(key):
            def one(key):
                return jax.grad(objective.loss, has_aux=True)(params, state, key, batch)

            found, _ = jax.vmap(one)(jax.random.split(key, draws // folds))
            leaves = jax.tree.leaves(found.encoder)
            return jnp.concatenate([leaf.mean(0).reshape(-1) for leaf in leaves])

        keys = jax.random.split(jax.random.key(1), folds)
        return np.asarray(jax.lax.map(fold, keys), float)

    def z_scores(estimator):
        pairs = mean_gradients(estimator) - mean_gradients(pathwise())
        error = pairs.std(0, ddof=1) / np.sqrt(folds)
        return np.abs(pairs.mean(0)[error > 0] / error[error > 0])

    limit = scipy.stats.t(folds - 1).isf(1e-4 / 2 / 200)
    assert z_scores(dreg()).max() < limit
    assert z_scores(gdreg()).max() < limit
    assert z_scores(stl()).max() > limit  # biased: the control


def test_layers_and_widths_belong_together():
    for sizes in ({"latent_dims": (3,)}, {"latent_dims": (3, 2), "hidden": (4,)}):
        with pytest.raises(VaejaxError, match="a number for each layer"):
            ladder_mlp(data_shape=(5,), **sizes)


def test_the_larger_network_of_the_iwae_paper_is_the_default():
    params = hierarchical_mlp().init(jax.random.key(0))
    shapes = jax.tree.map(
        lambda leaf: leaf.shape, [params.encoder, params.decoder, params.prior]
    )
    found = sorted(
        s
        for s in jax.tree.leaves(shapes, is_leaf=lambda s: type(s) is tuple)
        if len(s) == 2
    )
    expected = [(784, 200), (200, 200), (200, 200), (100, 100), (100, 100), (100, 100)]
    expected += [(50, 100), (100, 100), (100, 200), (100, 200), (200, 200), (200, 784)]
    assert found == sorted(expected)
