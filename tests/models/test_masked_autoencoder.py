"""The masked autoencoder: what it sees, what it is judged by, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.bounds import reconstruction
from vaejax.core import Batch, Example, VaejaxError
from vaejax.estimators import pathwise
from vaejax.models import masked_autoencoder
from vaejax.models.masked_autoencoder import positions, represent
from vaejax.nets import transformer
from vaejax.objective import make_objective

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
SMALL = {"patch_size": 2, "width": 16, "depth": 1, "decoder_width": 16}
SMALL |= {"decoder_depth": 1, "heads": 2}
SHAPE = (8, 8, 1)
X = jax.random.uniform(jax.random.key(1), SHAPE)


def built(**settings):
    model = masked_autoencoder(SHAPE, **SMALL | settings)
    return model, jax.jit(model.init)(KEY)


def test_the_encoder_sees_a_quarter_of_the_patches_and_no_other():
    model, params = built()
    sample = jax.jit(lambda k, x: model.posterior.sample(k, model.encode(params, x)))
    seen = sample(KEY, Example(X))
    assert seen.tokens.shape == (4, 16)
    rows, columns = np.divmod(np.asarray(seen.places), 4)
    hidden = np.ones(SHAPE, bool)
    for row, column, patch in zip(rows, columns, seen.patches, strict=True):
        there = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_array_equal(patch, X[there].reshape(-1))
        hidden[there] = False
    # Other pixels where it does not look change nothing, where it does they do.
    other = sample(KEY, Example(jnp.where(hidden, 1 - X, X)))
    np.testing.assert_array_equal(other.tokens, seen.tokens)
    other = sample(KEY, Example(jnp.where(hidden, X, 1 - X)))
    assert np.abs(other.tokens - seen.tokens).min(1).max() > 0

    # The loss is of the hidden pixels, the guess the truth where it was seen.
    guess = model.decode(params, seen, None)
    np.testing.assert_array_equal(guess.hidden, hidden)
    np.testing.assert_array_equal(np.where(hidden, 0, guess.mean - X), 0)
    gradient = jax.grad(lambda x: model.likelihood.log_prob(guess, x))(X)
    np.testing.assert_array_equal(gradient != 0, hidden)


def test_every_patch_is_hidden_as_often_as_any():
    model, params = built()
    draw = jax.vmap(
        lambda k: model.posterior.sample(k, model.encode(params, Example(X)))
    )
    places = np.asarray(draw(jax.random.split(KEY, 4000)).places)
    assert (np.diff(np.sort(places, 1), axis=1) > 0).all()  # without repetition
    share = np.bincount(places.reshape(-1), minlength=16) / len(places)
    spread = (0.25 * 0.75 / len(places)) ** 0.5
    assert np.abs(share - 0.25).max() < 5 * spread


def test_the_encoders_cost_falls_with_the_mask_ratio():
    def flops(mask_ratio):
        model, params = built(mask_ratio=mask_ratio)

        def encode(params, x, key):
            return model.posterior.sample(key, model.encode(params, Example(x))).tokens

        compiled = jax.jit(encode).lower(params, X, KEY).compile()
        return compiled.cost_analysis()["flops"]

    none, half, most = map(flops, (0.0, 0.5, 0.75))
    assert half < 0.55 * none
    assert most < 0.3 * none


def test_without_a_mask_it_represents_whole_images_by_the_same_parameters():
    masked, params = built()
    whole, others = built(mask_ratio=0.0)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, others)
    assert represent(whole, params.encoder, X).shape == (16,)
    seen = whole.posterior.mean(whole.encode(params, Example(X)))
    np.testing.assert_array_equal(seen.places, np.arange(16))
    assert whole.decode(params, seen, None).hidden.all()
    assert len(masked.posterior.mean(masked.encode(params, Example(X))).places) == 4


def test_tokens_without_places_are_a_set():
    network = transformer(8, 2, 2)
    params = network.init(KEY)
    tokens = jax.random.normal(KEY, (5, 8))
    turned = network.apply(params, tokens[::-1])[::-1]
    np.testing.assert_allclose(network.apply(params, tokens), turned, atol=1e-5)
    table = positions(4, 3, 8)
    assert len(np.unique(table.round(4), axis=0)) == 12  # one for every place


def test_it_learns_to_guess_hidden_patches():
    # Rows of patches are u and 1 - u in turn: what is seen tells all, by its place.
    def drawn(key, count):
        u = jax.random.uniform(key, (count, 1, 1, 1))
        odd = (jnp.arange(8) // 2 % 2)[:, None, None]
        return jnp.broadcast_to(jnp.where(odd, 1 - u, u), (count, *SHAPE))

    model, _ = built(data_mean=np.full(SHAPE, 0.5))
    objective = make_objective(model, reconstruction(), pathwise(), num_samples=1)
    start, state = jax.jit(objective.init)(KEY)
    steps = 400
    adam = optax.adam(optax.cosine_decay_schedule(1e-2, steps))

    def step(carry, key):
        params, moments = carry
        batch = Batch(Example(drawn(key, 32)), jnp.arange(32))
        gradient = jax.grad(lambda p: objective.loss(p, state, key, batch)[0])(params)
        updates, moments = adam.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), None

    run = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys)[0][0])
    params = run((start, adam.init(start)), jax.random.split(KEY, steps))

    @jax.jit
    def error(params):
        def one(x, key):
            seen = model.posterior.sample(key, model.encode(params, Example(x)))
            guess = model.decode(params, seen, None)
            return jnp.square(guess.mean - x).sum() / guess.hidden.sum()

        unseen = drawn(jax.random.key(1), 200)
        return jax.vmap(one)(unseen, jax.random.split(KEY, 200)).mean()

    assert error(start) == pytest.approx(1 / 12, rel=0.3)  # the mean's
    assert error(params) < 0.1 / 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"patch_size": 3},
            "patches of 3 by 3, not data of shape .*: use a patch_size",
        ),
        ({"data_shape": (5,)}, "cuts images .* or autoencoder"),
        (
            {"mask_ratio": 1.0},
            "mask_ratio is 1.0: use a number of at least 0 and below 1",
        ),
        ({"width": 10}, "heads do not divide|multiple of 4"),
        ({"heads": 5}, "5 heads do not divide a width of 64"),
        ({"scale": 0.0}, "scale is 0.0: use a finite number above 0"),
    ],
)
def test_what_cannot_be_is_refused_at_once(settings, message):
    with pytest.raises(VaejaxError, match=message):
        masked_autoencoder(**settings)
