"""The score of a mixture in the plane, learned by a denoising autoencoder."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from vaejax.bounds import reconstruction
from vaejax.core import Batch, Example, Key, PyTree, Scalar
from vaejax.estimators import pathwise
from vaejax.models import denoising_autoencoder
from vaejax.models.denoising_autoencoder import denoise
from vaejax.objective import make_objective
from vaejax.plotting import Picture, vector_fields

CENTRES = ((-1.5, 0.0), (1.0, 1.2), (0.8, -1.3))
SCALE = 0.4  # scale of each component
SIGMA = 0.5  # scale of the noise
STEPS, BATCH_SIZE, TEST_POINTS = 3000, 256, 2000
REACH, SIDE = 2.8, 19  # half-width and points per side of the grid


class ScoreField(NamedTuple):
    """The agreement of the residual with the score, and a picture of both."""

    cosine: float
    relative_error: float  # squared error over the squared norm of the score
    figure: Picture


def score_field() -> ScoreField:
    """Train on draws of the mixture and compare (r(x) - x) / sigma^2 to the score.

    The score is that of the mixture smoothed by the noise; cosine and error are of
    noisy points that training has not seen.
    """
    model = denoising_autoencoder(
        (2,),
        latent_dim=64,
        hidden=(64,),
        activation="tanh",
        units="linear",
        noise="gaussian",
        level=SIGMA,
    )
    objective = make_objective(model, reconstruction(), pathwise(), num_samples=1)
    train_key, test_key, noise_key = jax.random.split(jax.random.key(0), 3)
    params, state = objective.init(train_key)
    adam = optax.adam(optax.cosine_decay_schedule(3e-3, STEPS))

    def step(carry: PyTree, key: Key) -> tuple[PyTree, None]:
        params, moments = carry
        batch = Batch(Example(_draw(key, BATCH_SIZE)), jnp.arange(BATCH_SIZE))
        gradient = jax.grad(lambda p: objective.loss(p, state, key, batch)[0])(params)
        updates, moments = adam.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), None

    run = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys)[0][0])
    params = run((params, adam.init(params)), jax.random.split(train_key, STEPS))

    def residual(x: Array) -> Array:
        return (denoise(model, params, x) - x) / SIGMA**2

    noise = SIGMA * jax.random.normal(noise_key, (TEST_POINTS, 2))
    test = _draw(test_key, TEST_POINTS) + noise
    told, score = jax.vmap(residual)(test), jax.vmap(jax.grad(_log_density))(test)
    error = jnp.square(told - score).sum() / jnp.square(score).sum()

    line = np.linspace(-REACH, REACH, SIDE)
    grid = jnp.asarray(np.stack(np.meshgrid(line, line), -1).reshape(-1, 2))
    return ScoreField(
        float(optax.losses.cosine_similarity(told, score).mean()),
        float(error),
        vector_fields(
            grid,
            jnp.exp(jax.vmap(_log_density)(grid)),
            {
                "score of the smoothed density": jax.vmap(jax.grad(_log_density))(grid),
                "learned residual": jax.vmap(residual)(grid),
            },
            "A mixture smoothed by the noise: its score, and the residual (r(x) - x) / "
            "sigma^2 of a denoising autoencoder.",
        ),
    )


def _log_density(x: Float[Array, " 2"]) -> Scalar:
    """The log-density of the smoothed mixture, but for a constant."""
    square = jnp.square(x[None] - jnp.asarray(CENTRES)).sum(1)
    return jax.nn.logsumexp(-square / (2 * (SCALE**2 + SIGMA**2)))


def _draw(key: Key, count: int) -> Float[Array, "count 2"]:
    """Draw from the mixture before smoothing."""
    choice_key, noise_key = jax.random.split(key)
    chosen = jax.random.randint(choice_key, (count,), 0, len(CENTRES))
    noise = SCALE * jax.random.normal(noise_key, (count, 2))
    return jnp.asarray(CENTRES)[chosen] + noise
