"""MMD and adversarial terms bring the aggregated posterior to the prior."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.bounds import reconstruction
from vaejax.core import Batch, Example, Params
from vaejax.estimators import pathwise
from vaejax.evaluation import mmd_test
from vaejax.models import gaussian_mlp
from vaejax.objective import make_objective
from vaejax.regularizers import adversarial, mmd
from vaejax.regularizers.draws import posterior_draws, prior_draws

pytestmark = pytest.mark.slow

STEPS, BATCH, TESTED = 1500, 200, 500
AUXILIARY_RATIO = 10.0
CENTRES = 3 * np.eye(5)[:3]


def draw_x(key, size):
    """Three clusters in five dimensions, which no linear map makes a normal one."""
    which, noise = jax.random.split(key)
    chosen = jax.random.randint(which, (size,), 0, 3)
    return jnp.asarray(CENTRES)[chosen] + jax.random.normal(noise, (size, 5))


def model_with(posterior):
    return gaussian_mlp(
        (5,),
        latent_dim=2,
        hidden=(64, 64),
        activation="relu",
        posterior=posterior,
        likelihood="fixed_normal",
        likelihood_settings={"scale": 1.0},
    )


def p_value(posterior, *regularizers):
    """The p-value of one z for each of fresh x, against draws of the prior."""
    model = model_with(posterior)
    objective = make_objective(
        model, reconstruction(), pathwise(), num_samples=1, regularizers=regularizers
    )
    params, state = objective.init(jax.random.key(0))
    adam = optax.chain(  # as experiments.train does with --auxiliary-rate
        optax.adam(optax.cosine_decay_schedule(2e-3, STEPS)),
        optax.masked(
            optax.scale(AUXILIARY_RATIO),
            Params(encoder=False, decoder=False, prior=False, auxiliary=True),
        ),
    )

    def step(carry, key):
        params, moments = carry
        x_key, key = jax.random.split(key)
        batch = Batch(Example(draw_x(x_key, BATCH)), jnp.arange(BATCH))
        slope = jax.grad(lambda p: objective.loss(p, state, key, batch)[0])(params)
        updates, moments = adam.update(slope, moments)
        return (optax.apply_updates(params, updates), moments), None

    keys = jax.random.split(jax.random.key(1), STEPS)
    run = jax.jit(partial(jax.lax.scan, step))
    (params, _), _ = run((params, adam.init(params)), keys)
    fresh = Batch(Example(draw_x(jax.random.key(2), TESTED)), jnp.arange(TESTED))
    z = posterior_draws(model, params, jax.random.key(3), fresh)
    u = prior_draws(model, params, jax.random.key(4), fresh)
    return mmd_test(np.asarray(z), np.asarray(u)).p_value


SYSTEMS = {
    "wae_mmd": ("point_mass", mmd(weight=100.0)),
    "mmd_vae": ("diagonal_normal", mmd(weight=100.0)),
    "adversarial": ("point_mass", adversarial(1.0, hidden=(64, 64), activation="tanh")),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_aggregated_posterior_passes_for_the_prior(name):
    assert p_value(*SYSTEMS[name]) > 0.01


@pytest.mark.parametrize("posterior", ["point_mass", "diagonal_normal"])
def test_without_a_regularizer_it_does_not(posterior):
    assert p_value(posterior) < 0.002
