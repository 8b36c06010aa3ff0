"""Chains of latents are their product, and the ladder's posterior meets its prior."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaejax.bounds import iwae
from vaejax.core import Batch, Example, VaejaxError, fold_examples
from vaejax.estimators import dreg, gdreg, pathwise, stl
from vaejax.evaluation import layer_kl, posterior_means
from vaejax.families import ChainParams, NormalParams, bernoulli, chain, diagonal_normal
from vaejax.families.chain import linear
from vaejax.models import gaussian_mlp, hierarchical_mlp, ladder_mlp
from vaejax.models.ladder import Stage, _meet
from vaejax.nets import mlp
from vaejax.objective import make_objective

pytestmark = pytest.mark.slow

DIMS = (3, 2, 4)  # z_1, z_2, z_3


def linear_chain(
    top_down: bool, dims: tuple[int, ...] = DIMS
) -> tuple[ChainParams, np.ndarray, np.ndarray]:
    """Three layers, with the mean and covariance of all in one vector, z_1 first."""
    rng = np.random.default_rng(0)
    order = dims[::-1] if top_down else dims
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


@pytest.mark.parametrize("top_down", [True, False])
def test_a_chain_is_retraced_as_it_was_drawn(top_down):
    """The sample does not move, and its derivatives are those of sampling."""
    family = chain(diagonal_normal(), [linear, linear], top_down)
    params, _, _ = linear_chain(top_down)
    key = jax.random.key(0)

    def total(draw):
        return jax.value_and_grad(lambda params: sum(map(jnp.sum, draw(params))))

    again = total(lambda p: family.couplings.retrace(p, family.sample(key, params)))(
        params
    )
    drawn = total(lambda p: family.sample(key, p))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), again, drawn)


@pytest.mark.parametrize("top_down", [True, False])
def test_a_chain_is_integrated_by_its_nodes(top_down):
    """The weights of the nodes give the mean and covariance of all layers together."""
    family = chain(diagonal_normal(), [linear, linear], top_down)
    params, mean, covariance = linear_chain(top_down, dims=(1, 1, 1))
    nodes, weights = family.quadrature(params, 24)
    vectors = np.concatenate([np.asarray(leaf, float) for leaf in nodes], 1)
    assert len(vectors) == 24**3
    weights = np.asarray(weights, float)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(weights @ vectors, mean, atol=1e-5)
    spread = vectors - mean
    np.testing.assert_allclose(
        spread.T @ (weights[:, None] * spread), covariance, atol=1e-4
    )
    np.testing.assert_allclose(np.concatenate(family.mean(params)), mean, atol=1e-5)


@pytest.mark.parametrize("top_down", [True, False])
def test_a_chain_of_bits_is_listed_and_its_outcomes_probabilities_add_up(top_down):
    dims = DIMS[::-1] if top_down else DIMS
    nets = [mlp(below, (), above) for below, above in itertools.pairwise(dims)]
    family = chain(bernoulli(), [net.apply for net in nets], top_down)
    keys = jax.random.split(jax.random.key(0), len(nets))
    rest = tuple(net.init(key) for net, key in zip(nets, keys, strict=True))
    params = ChainParams(jnp.linspace(-1.0, 1.0, dims[0]), rest)
    listed = family.outcomes.support(params)
    vectors = np.concatenate(listed, 1)
    assert len(np.unique(vectors, axis=0)) == len(vectors) == 2 ** sum(DIMS)
    assert family.outcomes.count(family.mean(params)) == len(vectors)
    log_probs = jax.vmap(family.log_prob, (None, 0))(params, listed)
    np.testing.assert_allclose(jnp.exp(log_probs).sum(), 1, rtol=1e-5)


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


@pytest.mark.parametrize("factory", [ladder_mlp, hierarchical_mlp])
def test_the_units_kl_divergences_add_up_to_the_elbos(factory):
    model = factory(**SIZES)
    params = model.init(jax.random.key(0))
    x = jax.random.bernoulli(jax.random.key(1), 0.5, (7, 5)).astype(jnp.float32)
    examples, key, count = Example(x), jax.random.key(2), 3
    found = layer_kl(model, params, examples, key, num_samples=count)
    assert [layer.shape[0] for layer in found] == [3, 2, 2]

    def one(key, example):
        q, p = model.encode(params, example), model.prior(params, None)
        z = model.posterior.sample(key, q)
        return model.posterior.log_prob(q, z) - model.latent_prior.log_prob(p, z)

    keys = jax.vmap(lambda key: jax.random.split(key, count))(
        fold_examples(key, jnp.arange(len(x)))
    )
    total = jax.vmap(jax.vmap(one, (0, None)))(keys, examples).mean()
    assert sum(layer.sum() for layer in found) == pytest.approx(float(total), rel=1e-4)


def test_a_unit_at_its_prior_says_nothing_though_it_moves():
    model = ladder_mlp(**SIZES)
    params = model.init(jax.random.key(0))
    # Only the top layer listens to x; those below follow it through the prior.
    for head, dim in zip(params.encoder["heads"][:2], (3, 2), strict=True):
        head["layers"][0]["kernel"] *= 0
        head["layers"][0]["bias"] = jnp.repeat(jnp.array([0.0, 30.0]), dim)
    top = params.encoder["heads"][2]["layers"][0]
    top["kernel"] = top["kernel"].at[:, :2].multiply(5.0)
    for network, dim in zip(params.prior, (3, 2), strict=True):
        last = network["layers"][max(network["layers"])]
        last["kernel"] = last["kernel"].at[:, :dim].multiply(20.0)
    x = jax.random.bernoulli(jax.random.key(1), 0.5, (50, 5)).astype(jnp.float32)
    kl = layer_kl(model, params, Example(x), jax.random.key(2))
    assert np.abs(np.concatenate(kl[:2])).max() < 1e-4
    assert kl[2].min() > 0.01
    moves = posterior_means(model, params, Example(x)).var(0)
    assert (moves[:5] > 0.01).sum() >= 3
    plain = gaussian_mlp((5,), latent_dim=2, hidden=())
    own, key = plain.init(jax.random.key(0)), jax.random.key(0)
    with pytest.raises(VaejaxError, match="have no layers"):
        layer_kl(plain, own, Example(x), key)


def test_estimators_of_the_path_agree_on_a_ladder():
    """Each estimator's mean encoder gradient is compared with pathwise, in z-scores."""
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
