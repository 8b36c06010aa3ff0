"""Autoencoders do what they are known for: principal axes, sparsity, scores."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from vaejax.bounds import reconstruction
from vaejax.core import Batch, Example, UnknownNameError, VaejaxError
from vaejax.estimators import pathwise
from vaejax.evaluation import posterior_means
from vaejax.evaluation import reconstruction as reconstructed
from vaejax.families import k_sparse, point_mass
from vaejax.models import autoencoder, denoising_autoencoder, sparse_autoencoder
from vaejax.models.corruption import corruption
from vaejax.models.denoising_autoencoder import denoise
from vaejax.models.sparse_autoencoder import dictionary
from vaejax.objective import make_objective

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)


def train(model, x, *, steps, batch=None, learning_rate=1e-2, key=KEY):
    """The parameters after Adam on all of x, or on batches of so many."""
    objective = make_objective(model, reconstruction(), pathwise(), num_samples=1)
    params, state = objective.init(key)
    adam = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    x = jnp.asarray(x, jnp.float32)

    def step(carry, key):
        params, moments = carry
        order_key, key = jax.random.split(key)
        seen = x
        if batch is not None:
            seen = x[jax.random.randint(order_key, (batch,), 0, len(x))]
        batched = Batch(Example(seen), jnp.arange(len(seen)))
        gradient = jax.grad(lambda p: objective.loss(p, state, key, batched)[0])(params)
        updates, moments = adam.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), None

    keys = jax.random.split(key, steps)
    run = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys)[0][0])
    return run((params, adam.init(params)), keys)


def squared_error(model, params, x):
    x = jnp.asarray(x, jnp.float32)
    return reconstructed(model, params, Example(x)).squared_error.mean()


# Data in 10 dimensions, with a gap in the spectrum after the third.
SPREAD = np.array([3.0, 2.5, 2.0, 1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2])
BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
CLOUD = (np.random.default_rng(1).normal(size=(400, 10)) * SPREAD + 1) @ BASIS.T
CODE = 3


@pytest.fixture(scope="module")
def pca():
    return PCA(CODE).fit(CLOUD)


@pytest.fixture(scope="module")
def pca_error(pca):
    kept = pca.inverse_transform(pca.transform(CLOUD))
    return np.square(CLOUD - kept).sum(1).mean()


def small(**settings):
    given = {"data_shape": (10,), "data_mean": CLOUD.mean(0), "latent_dim": CODE}
    unit = {"likelihood_settings": {"scale": 1.0}}
    return autoencoder(**given | unit | settings)


def test_a_linear_autoencoder_spans_the_principal_subspace(pca, pca_error):
    model = small()
    start = model.init(KEY)
    params = train(model, CLOUD, steps=3000)

    def largest_angle(params):
        columns = np.asarray(params.decoder["layers"][0]["kernel"]).T
        return subspace_angles(columns, pca.components_.T).max()

    assert largest_angle(params) < 1e-3
    assert largest_angle(start) > 0.1  # what the angle is of another subspace
    error = squared_error(model, params, CLOUD)
    assert error == pytest.approx(pca_error, rel=1e-4)


def test_units_that_squash_the_code_are_no_better_than_pca(pca_error):
    model = small(posterior_settings={"units": "sigmoid"})
    error = squared_error(model, train(model, CLOUD, steps=3000), CLOUD)
    assert pca_error * (1 - 1e-5) < error < 1.2 * pca_error


def test_a_deep_autoencoder_is_better_than_pca_where_the_data_bend():
    angle = np.linspace(0, 5, 400)
    spiral = np.stack([angle * np.cos(angle), angle * np.sin(angle)], 1)
    flat = PCA(1).fit(spiral)
    kept = flat.inverse_transform(flat.transform(spiral))
    model = autoencoder(
        (2,), data_mean=spiral.mean(0), latent_dim=1, hidden=(32, 32), activation="tanh"
    )
    error = squared_error(model, train(model, spiral, steps=2000), spiral)
    assert error < 0.2 * np.square(spiral - kept).sum(1).mean()


# Images of 16 pixels, each the sum of 2 of 12 orthogonal atoms.
ATOMS = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 12)))[0].T
CHOICE = np.random.default_rng(3)
WEIGHTS = np.zeros((2000, 12))
for row in WEIGHTS:
    row[CHOICE.choice(12, 2, replace=False)] = CHOICE.exponential(size=2)
MIXED = WEIGHTS @ ATOMS


def test_sparsity_falls_as_lambda_rises_and_the_dictionary_is_found():
    active, matches = [], []
    for l1 in (0.0, 0.1, 0.5):
        model = sparse_autoencoder((16,), latent_dim=20, l1=l1)
        params = train(model, MIXED, steps=2000, batch=200)
        codes = posterior_means(model, params, Example(jnp.asarray(MIXED, "float32")))
        active.append((codes > 0).sum(1).mean())
        atoms = np.asarray(dictionary(model, params))
        np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-5)
        matches.append((ATOMS @ atoms.T).max(1).mean())  # cosine of the nearest
    assert active[0] > active[1] > active[2]
    assert matches[1] > 0.95 > matches[0]  # without a penalty the atoms are not found


def test_k_sparse_keeps_the_k_largest_and_their_gradient():
    outputs = jnp.array([[0.5, -3.0, 2.0, 1.0, -1.0]])
    family = k_sparse(2)
    np.testing.assert_array_equal(family.head.from_outputs(outputs), [0, 0, 2, 1, 0])
    gradient = jax.grad(lambda o: family.head.from_outputs(o).sum())(outputs)
    np.testing.assert_array_equal(gradient, [[0, 0, 1, 1, 0]])

    model = sparse_autoencoder((16,), latent_dim=12, k=3)
    assert not model.extras.regularizers
    params = train(model, MIXED, steps=2000, batch=200)
    codes = posterior_means(model, params, Example(jnp.asarray(MIXED, "float32")))
    assert set((codes != 0).sum(1)) == {3}
    assert squared_error(model, params, MIXED) < 0.1 * np.square(MIXED).sum(1).mean()


# Three components in the plane.
CENTRES = jnp.array([[-1.5, 0.0], [1.0, 1.2], [0.8, -1.3]])
SCALE, SIGMA = 0.4, 0.5


def log_density(x, sigma):
    """The score of the mixture, smoothed by N(0, sigma^2)."""
    variance = SCALE**2 + sigma**2
    square = jnp.square(x[None] - CENTRES).sum(1)
    return jax.nn.logsumexp(-square / (2 * variance))


def draw(key, count):
    choice_key, noise_key = jax.random.split(key)
    chosen = jax.random.randint(choice_key, (count,), 0, len(CENTRES))
    return CENTRES[chosen] + SCALE * jax.random.normal(noise_key, (count, 2))


def test_the_residual_of_a_denoising_autoencoder_is_the_score():
    model = denoising_autoencoder(
        (2,),
        latent_dim=64,
        hidden=(64,),
        activation="tanh",
        units="linear",
        noise="gaussian",
        level=SIGMA,
    )
    x = draw(jax.random.key(1), 20_000)
    params = train(model, x, steps=3000, batch=256, learning_rate=3e-3)
    seen = draw(jax.random.key(2), 2000)
    seen += SIGMA * jax.random.normal(jax.random.key(3), seen.shape)

    def score(sigma):
        return jax.vmap(jax.grad(log_density), (0, None))(seen, sigma)

    residual = (jax.vmap(lambda x: denoise(model, params, x))(seen) - seen) / SIGMA**2

    def cosine(params):
        found = jax.vmap(lambda x: denoise(model, params, x))(seen) - seen
        return optax.losses.cosine_similarity(found, score(SIGMA)).mean()

    def relative_error(sigma):
        return jnp.square(residual - score(sigma)).sum() / jnp.square(residual).sum()

    assert cosine(params) > 0.95
    assert cosine(model.init(KEY)) < 0.8  # of a residual towards the origin
    # Its length is right, too: it is not the score of the density without the noise.
    assert relative_error(SIGMA) < 0.05
    assert relative_error(0.0) > 0.5


def test_noise_is_what_it_says():
    x = jnp.full(100_000, 2.0)
    masked = corruption("masking", 0.25)(KEY, x)
    assert set(np.unique(masked)) == {0, 2}
    kept = float((masked != 0).mean())
    assert abs(kept - 0.75) < 5 * (0.75 * 0.25 / len(x)) ** 0.5
    added = np.asarray(corruption("gaussian", 0.5)(KEY, x) - x)
    assert abs(added.std() - 0.5) < 5 * 0.5 / (2 * len(x)) ** 0.5
    assert abs(added.mean()) < 5 * 0.5 / len(x) ** 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: point_mass("round"), "unknown units 'round'.*sigmoid"),
        (lambda: k_sparse(0), "k=0 must be an integer from 1"),
        (lambda: sparse_autoencoder((4,), latent_dim=2, k=3), "3 largest of 2 units"),
        (lambda: sparse_autoencoder((4,), l1=-1.0), "weight of l1_codes is -1.0"),
        (lambda: corruption("salt", 0.1), "unknown noise 'salt'.*masking"),
        (
            lambda: corruption("masking", 1.0),
            "1.0: use a number of at least 0 and less",
        ),
        (
            lambda: corruption("gaussian", float("nan")),
            "nan: use a number of at least 0",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_once(wrong, message):
    with pytest.raises((VaejaxError, UnknownNameError), match=message):
        wrong()
