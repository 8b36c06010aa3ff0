"""VQ-VAE: what its gradient is, how its codebook moves, and that it finds clusters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import (
    Batch,
    Example,
    Params,
    Regularizer,
    UnknownNameError,
    VaejaxError,
    make_objective,
)
from vaejax.bounds import reconstruction
from vaejax.estimators import pathwise
from vaejax.evaluation import code_use
from vaejax.models import vq_vae
from vaejax.models.codebooks import CodeAverages, nearest
from vaejax.models.vq_vae import code_indices
from vaejax.objective import split_params, whole_params
from vaejax.training import fit, init_state, make_step
from vaejax.training.batches import batch_indices
from vaejax.training.start import NO_STEP
from vaejax.training.step import step_keys

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
SMALL = {"channels": (3, 4), "blocks": 1, "latent_dim": 3, "num_codes": 5}
SHAPE = (6, 5, 1)  # of which a grid of 2 x 2 is made


def objective_of(model):
    return make_objective(model, reconstruction(), pathwise(), num_samples=1)


def batch_of(size):
    x = jax.random.uniform(jax.random.key(1), (size, *SHAPE))
    return Batch(Example(x), jnp.arange(size))


@functools.partial(jax.jit, static_argnums=0)
def encoded(model, params, x):
    """The vectors e of every image, and the codes that stand for them."""

    def one(x):
        q = model.encode(params, Example(x))
        return q.vectors, nearest(q)

    return jax.vmap(one)(x)


def test_the_gradient_is_the_straight_through_one():
    """dL/de = dlog p/dz at z = c + 2 beta (e - c); dL/dc_j = sum 2 (c_j - e)."""
    beta, model = 0.7, vq_vae(SHAPE, commitment=0.7, **SMALL)
    objective, batch = objective_of(model), batch_of(4)
    params, state = objective.init(KEY)
    found = jax.jit(jax.grad(lambda p: objective.loss(p, state, KEY, batch)[0]))(params)

    e, indices = encoded(model, params, batch.example.x)
    c = params.prior[indices]

    def loss(decoder, z):
        own = params._replace(decoder=decoder)
        given = jax.vmap(lambda z: model.decode(own, z, None))(z)
        return -jax.vmap(model.likelihood.log_prob)(given, batch.example.x).mean()

    of_decoder, of_z = jax.jit(jax.grad(loss, (0, 1)))(params.decoder, c)
    of_vectors = of_z + 2 * beta * (e - c) / 4

    def vectors(encoder):
        return encoded(model, params._replace(encoder=encoder), batch.example.x)[0]

    of_encoder = jax.vjp(vectors, params.encoder)[1](of_vectors)[0]
    of_codes = np.zeros((5, 3))
    np.add.at(of_codes, np.asarray(indices), np.asarray(2 * (c - e)) / 4)
    expected = params._replace(encoder=of_encoder, decoder=of_decoder, prior=of_codes)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4),
        found,
        expected,
    )
    # The term that a gradient without commitment lacks is no rounding error.
    assert np.abs(2 * beta * (e - c) / 4).max() > 1e-2


def evaluated(state):
    return whole_params(state.params, state.loss_state)


def test_moving_averages_step_as_published():
    """N <- gamma N + (1 - gamma) n and so on, by plain loops in float64."""
    gamma, size, smoothing = 0.9, 8, 1e-2
    model = vq_vae(SHAPE, codebook="ema", decay=gamma, smoothing=smoothing, **SMALL)
    objective, batch, adam = objective_of(model), batch_of(size), optax.adam(1e-2)
    state = init_state(objective, adam, KEY)
    step = make_step(objective, adam, micro_batch_size=2)  # parts make no difference
    # The published averages are sums over the batch, and so is their smoothing.
    counts, sums = (
        np.float64(size) * np.asarray(one) for one in evaluated(state).prior
    )
    for _ in range(3):
        e, indices = (
            np.asarray(one) for one in encoded(model, evaluated(state), batch.example.x)
        )
        new, summed = np.zeros(5), np.zeros((5, 3))
        for vector, j in zip(e.reshape(-1, 3), indices.ravel(), strict=True):
            new[j] += 1
            summed[j] += vector
        counts = gamma * counts + (1 - gamma) * new
        sums = gamma * sums + (1 - gamma) * summed
        epsilon = size * smoothing
        smooth = (counts + epsilon) / (counts.sum() + 5 * epsilon) * counts.sum()
        before, (state, _) = state, step(state, batch)
        assert state.params.prior == ()  # no optimizer's to step
        found = evaluated(state).prior
        assert isinstance(found, CodeAverages)
        np.testing.assert_allclose(size * np.asarray(found.counts), counts, rtol=1e-5)
        np.testing.assert_allclose(
            size * np.asarray(found.sums), sums, rtol=1e-4, atol=1e-5
        )
        codes = model.encode(evaluated(state), Example(batch.example.x[0])).codes
        np.testing.assert_allclose(codes, sums / smooth[:, None], rtol=1e-4, atol=1e-5)
    # Parameters without the averages are those of no model.
    with pytest.raises(VaejaxError, match=r"lack the codebook.* use vaejax\.whole"):
        model.encode(state.params, Example(batch.example.x[0]))
    # The networks are Adam's all the same, whose steps are at most about its rate.
    kernels = [one.params.encoder["head"]["kernel"] for one in (before, state)]
    assert 1e-3 < np.abs(kernels[1] - kernels[0]).max() < 2e-2
    assert new.max() > new.min()  # or all codes would move alike


def test_a_loop_of_one_s_own_trains_as_fit_does():
    """The same keys and batches, any optimizer, and nothing said of the averages."""
    model = vq_vae(SHAPE, codebook="ema", decay=0.9, **SMALL)
    objective, data, adam = objective_of(model), batch_of(12).example, optax.adam(1e-2)
    size, epochs = 4, 3
    ours = fit(objective, adam, data, epochs=epochs, batch_size=size, key=KEY)

    begun = init_state(objective, adam, KEY)
    _, start_key = jax.random.split(jax.random.fold_in(begun.key, NO_STEP - 2))
    assert objective.start is not None
    params, state = objective.start(begun.params, begun.loss_state, data, start_key)
    started = whole_params(params, state)
    seed = int(jax.random.bits(jax.random.fold_in(begun.key, NO_STEP), dtype="uint32"))
    gradient = jax.jit(jax.grad(objective.loss, has_aux=True))
    moments = adam.init(params)
    for t, rows in enumerate(batch_indices(12, size, 0, epochs * 12 // size, seed)):
        chosen = Batch(jax.tree.map(lambda leaf, r=rows: leaf[r], data), jnp.arange(4))
        _, key = step_keys(begun._replace(step=jnp.asarray(t)))
        slope, (state, _) = gradient(params, state, key, chosen)
        updates, moments = adam.update(slope, moments)
        params = optax.apply_updates(params, updates)
    theirs = whole_params(params, state)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        theirs,
        evaluated(ours),
    )
    moved = [np.abs(a - b).max() for a, b in zip(theirs.prior, started.prior, strict=1)]
    assert min(moved) > 1e-2  # or averages that stand still would agree, too


def test_a_batch_whose_examples_are_not_compared_may_be_cut_up():
    """The codebook's terms are means over examples; another term compares them."""
    model = vq_vae(SHAPE, **SMALL)
    given = {"epochs": 1, "batch_size": 4, "key": KEY, "micro_batch_size": 2}
    data, adam = batch_of(8).example, optax.adam(1e-2)
    fit(objective_of(model), adam, data, **given)
    compares = Regularizer(name="compares", penalty=lambda *_: jnp.zeros(()))
    compared = make_objective(
        model, reconstruction(), pathwise(), num_samples=1, regularizers=[compares]
    )
    with pytest.raises(VaejaxError, match="compares all examples of a batch"):
        fit(compared, adam, data, **given)
    fit(compared, adam, data, **given | {"micro_batch_size": 4})


@pytest.mark.parametrize("codebook", ["loss", "ema"])
def test_the_codebook_finds_the_prototypes_that_the_data_are_made_of(codebook):
    """Six noisy patterns through networks that stay as they are: each code is a mean.

    The start alone has a code in each cluster; it is put off before training.
    """
    rng = np.random.default_rng(0)
    patterns, labels = rng.integers(2, size=(6, 8, 8, 1)), rng.integers(6, size=300)
    x = jnp.asarray(rng.normal(patterns[labels], 0.03), jnp.float32)
    model = vq_vae(
        **{"data_shape": (8, 8, 1), "data_mean": np.asarray(x.mean(0))},
        **{"channels": (8, 8, 8), "blocks": 0, "latent_dim": 4},
        **{"num_codes": 6, "codebook": codebook, "decay": 0.9},
    )
    objective = objective_of(model)
    of_codes = Params(encoder=False, decoder=False, prior=True, auxiliary=False)
    adam = optax.adam(optax.cosine_decay_schedule(1e-2, 200))
    optimizer = optax.partition({True: adam, False: optax.set_to_zero()}, of_codes)
    step = make_step(objective, optimizer)
    begun = init_state(objective, optimizer, KEY)
    assert model.extras.start is not None
    params = model.extras.start(evaluated(begun), Example(x), KEY)
    e = np.asarray(encoded(model, params, x)[0])[:, 0]
    means = np.stack([e[labels == label].mean(0) for label in range(6)])
    apart = np.linalg.norm(means[:, None] - means[None], axis=-1)
    apart = apart[~np.eye(6, dtype=bool)].min()

    def farthest(params):
        """The greatest distance of a cluster's mean to the code nearest to it."""
        codes = np.asarray(model.encode(params, Example(x[0])).codes)
        return np.linalg.norm(means[:, None] - codes[None], axis=-1).min(1).max()

    off = rng.normal(size=means.shape)
    off = 0.3 * apart * off / np.linalg.norm(off, axis=1, keepdims=True)
    codes = model.encode(params, Example(x[0])).codes + jnp.asarray(off, jnp.float32)
    prior = codes
    if codebook == "ema":
        prior = params.prior._replace(sums=codes * params.prior.counts[:, None])
    params, loss_state = split_params(params._replace(prior=prior), begun.loss_state)
    begun = begun._replace(params=params, loss_state=loss_state)
    batch = Batch(Example(x), jnp.arange(len(x)))
    trained = jax.jit(
        lambda state: jax.lax.fori_loop(0, 200, lambda _, s: step(s, batch)[0], state)
    )(begun)
    assert farthest(evaluated(begun)) > 0.2 * apart
    assert farthest(evaluated(trained)) < 0.01 * apart
    indices = code_indices(model, evaluated(trained), Example(x))[:, 0]
    assert len(set(zip(labels.tolist(), indices.tolist(), strict=True))) == 6
    use = code_use(np.bincount(indices, minlength=6))
    assert use.share_used == 1
    assert use.perplexity > 5.5
    same = jax.tree.map(np.array_equal, trained.params.encoder, params.encoder)
    assert all(jax.tree.leaves(same))


def test_code_use_is_known_where_the_shares_are():
    use = code_use(np.array([[3, 3, 3, 3], [7, 0, 0, 0], [2, 1, 1, 0]]))
    np.testing.assert_allclose(use.perplexity, [4, 1, 2**1.5])
    np.testing.assert_array_equal(use.share_used, [1, 0.25, 0.75])
    np.testing.assert_allclose(use.shares[2], [0.5, 0.25, 0.25, 0])
    for wrong in ([0, 0], [1, -1]):
        with pytest.raises(
            VaejaxError, match="number of times that each code is taken"
        ):
            code_use(np.array(wrong))


def test_what_cannot_be_is_refused():
    for settings, words in [
        ({"data_shape": (5,)}, "categorical_mlp"),
        ({"channels": ()}, "channels=32"),
        ({"num_codes": 0}, "an integer from 1 to"),
        ({"commitment": np.nan}, r"a number from -1e\+30 to 1e\+30"),
        ({"codebook": "ema", "decay": 1.0}, "less than 1"),
        ({"codebook": "ema", "smoothing": -1.0}, "at least 0, and finite"),
    ]:
        with pytest.raises(VaejaxError, match=words):
            vq_vae(**settings)
    with pytest.raises(UnknownNameError, match="loss"):
        vq_vae(codebook="sum")
    model = vq_vae(SHAPE, **SMALL | {"num_codes": 50})
    assert model.extras.start is not None
    params = jax.eval_shape(model.init, KEY)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params)
    with pytest.raises(VaejaxError, match="use fewer codes"):
        model.extras.start(params, batch_of(2).example, KEY)
