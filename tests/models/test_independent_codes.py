"""Regularizers of the total correlation train codes to be independent, a VAE does not.

Two features are normal with correlation `RHO`, and the decoder draws each from a latent
of its own: x_j = w_j z_j + b_j + `SCALE` noise. A VAE so does best with w_j^2 = 1 -
SCALE^2 and the posterior of z_j given x_j alone, whose means have that variance: its
codes keep the correlation RHO (1 - SCALE^2). Codes are independent at the price of
reconstruction. Encoders are linear, so that q(z) is normal, of a known covariance.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.bounds import elbo
from vaejax.core import Batch, Example, Extras
from vaejax.estimators import pathwise
from vaejax.families import NormalParams
from vaejax.models import linear_gaussian
from vaejax.objective import make_objective
from vaejax.regularizers import (
    dip_i,
    dip_ii,
    stratified_total_correlation,
    total_correlation,
)

pytestmark = pytest.mark.slow

RHO, SCALE = 0.9, 0.3
FEATURES = np.array([[1.0, RHO], [RHO, 1.0]])
KEPT = -0.5 * math.log(1 - (RHO * (1 - SCALE**2)) ** 2)  # nats, of the best VAE
SEEDS, STEPS, BATCH = 4, 1000, 64


def two_separate_features():
    model = linear_gaussian((2,), latent_dim=2)

    def decode(params, z, y):
        loc = jnp.diag(params.decoder["weight"]) * z + params.decoder["bias"]
        return NormalParams(loc, jnp.full(2, math.log(SCALE)))

    return dataclasses.replace(model, decode=decode, extras=Extras())


def trained(*regularizers):
    """Encoders by seed; start, batches and noise of a seed are the same for all."""
    objective = make_objective(
        two_separate_features(),
        elbo(),
        pathwise(),
        num_samples=1,
        regularizers=regularizers,
    )
    adam = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))
    factor = jnp.asarray(np.linalg.cholesky(FEATURES), jnp.float32)

    def step(carry, key):
        params, state, moments = carry
        x_key, key = jax.random.split(key)
        x = jax.random.normal(x_key, (BATCH, 2)) @ factor.T
        batch = Batch(Example(x), jnp.arange(BATCH))
        slope, (state, _) = jax.grad(objective.loss, has_aux=True)(
            params, state, key, batch
        )
        updates, moments = adam.update(slope, moments)
        return (optax.apply_updates(params, updates), state, moments), None

    def train(key):
        start_key, key = jax.random.split(key)
        params, state = objective.init(start_key)
        keys = jax.random.split(key, STEPS)
        carry, _ = jax.lax.scan(step, (params, state, adam.init(params)), keys)
        return carry[0].encoder

    return jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), SEEDS))


def codes(encoder):
    """By seed: the total correlation of q(z), and the part of noise in a code."""
    weight = np.asarray(encoder["weight"], float)
    noise = np.exp(2 * np.asarray(encoder["log_scale"], float))
    covariance = weight @ FEATURES @ weight.swapaxes(1, 2) + noise[:, None] * np.eye(2)
    variances = np.diagonal(covariance, axis1=1, axis2=2)
    log_det = np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.log(variances).sum(1) - log_det), noise / variances


@pytest.fixture(scope="module")
def plain():
    return codes(trained())


REGULARIZERS = [
    total_correlation(20.0, hidden=(32, 32)),
    stratified_total_correlation(20.0, num_examples=10**6),
    dip_i(100.0, 100.0),
    dip_ii(10.0, 10.0),
]


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda one: one.name)
def test_codes_come_to_be_independent_and_still_tell_of_the_data(regularizer, plain):
    found, noise = codes(trained(regularizer))
    np.testing.assert_allclose(plain[0], KEPT, rtol=0.1)
    assert (found < plain[0] / 10).all()
    assert (noise.min(1) < 0.5).all()
