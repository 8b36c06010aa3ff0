"""Refined posteriors: against the exact posterior of the linear-Gaussian model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.bounds import elbo
from vaejax.core import Batch, Example, IncompatibleError, LossState, VaejaxError, plain
from vaejax.data import load
from vaejax.estimators import pathwise
from vaejax.evaluation import amortization_gap
from vaejax.families import NormalParams, diagonal_normal, floored_normal
from vaejax.models import (
    MODELS,
    gaussian_mlp,
    linear_gaussian,
    sigmoid_belief_network,
    with_refinement,
)
from vaejax.models.linear_gaussian import exact_elbo, exact_log_px
from vaejax.models.semi_amortized import key_of
from vaejax.objective import make_objective
from vaejax.terms import weigh_own_samples
from vaejax.training import fit

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
MODEL = linear_gaussian(data_shape=(3,), latent_dim=1)
PARAMS = MODEL.init(jax.random.key(3))
X = jnp.array([[0.9, -0.4, 1.3], [-0.7, 0.5, 0.2], [0.1, 2.0, -1.0]])


def test_the_gap_is_all_of_the_kl_where_the_family_holds_the_posterior():
    """With one latent: log p(x) - ELBO(encoder), up to the last steps' wobble."""
    gap = amortization_gap(MODEL, PARAMS, Example(X), KEY, num_samples=2000)
    log_px = np.array([exact_log_px(PARAMS, x) for x in X])
    before = np.array([exact_elbo(MODEL, PARAMS, x) for x in X])
    np.testing.assert_allclose(gap.refined, log_px, atol=0.005)
    found = gap.refined - gap.amortized
    assert np.all(np.abs(found - (log_px - before)) < 5 * gap.monte_carlo_error + 0.005)
    assert np.all(log_px - before > 0.1)  # there is a gap to be found
    summary = gap.summary()
    assert summary["amortization_gap"] == pytest.approx(found.mean(), rel=1e-5)


def test_a_few_steps_raise_the_bound_and_carry_its_gradient():
    refined = with_refinement(MODEL, num_steps=20, step_size=0.1)

    def value(model, params):
        return jnp.stack([exact_elbo(model, params, x) for x in X]).mean()

    assert value(refined, PARAMS) > value(MODEL, PARAMS) + 0.1
    objective = make_objective(refined, elbo(), pathwise(), num_samples=4)
    batch = Batch(Example(X), jnp.arange(3))

    def loss(bias):
        encoder = PARAMS.encoder | {"bias": bias}
        return objective.loss(
            PARAMS._replace(encoder=encoder), LossState(), KEY, batch
        )[0]

    with jax.enable_x64(True):
        bias = jnp.asarray([0.3])
        slope = jax.grad(loss)(bias)
        difference = (loss(bias + 1e-4) - loss(bias - 1e-4)) / 2e-4
    np.testing.assert_allclose(slope[0], difference, rtol=0.01)


@pytest.fixture(scope="module")
def digits():
    """Thresholded images, to train and to test on, [N, 8, 8, 1]."""
    return [
        jnp.asarray(load("digits", split, protocol="none").images >= 128, float)
        for split in ("train", "test")
    ]


def mean_elbo(model, params, x):
    """The ELBO of every image, by 400 samples that no refinement has seen."""
    keys = jax.random.split(jax.random.key(11), len(x))

    def one(pair):
        key, example = pair[0], Example(pair[1])
        q = model.encode(params, example)
        keys = jax.random.split(key, 400)
        return plain(weigh_own_samples(model, params, q, keys, example)).mean()

    return np.asarray(jax.jit(lambda: jax.lax.map(one, (keys, x)))(), float)


def gain(before, after):
    """The mean gain per image and its z-score, images and their noise in pairs."""
    difference = after - before
    return difference.mean(), difference.mean() / (
        difference.std(ddof=1) / np.sqrt(len(difference))
    )


def test_the_registered_models_steps_improve_a_trained_encoder(digits):
    """New images and noise gain by the default steps, and by twenty times as many.

    The control is the same model, refined against one draw of noise that stays.
    """
    train, test = digits[0], digits[1][:80]
    settings = {"data_shape": (8, 8, 1), "latent_dim": 4, "hidden": (64,)}
    amortized = gaussian_mlp(**settings)
    objective = make_objective(amortized, elbo(), pathwise(), num_samples=1)
    params = fit(
        objective, optax.adam(3e-3), Example(train), epochs=100, batch_size=50, key=KEY
    ).params
    before = mean_elbo(amortized, params, test)
    for steps in ({}, {"num_steps": 100}):
        refined = MODELS["semi_amortized_mlp"](**settings, **steps)
        mean, z = gain(before, mean_elbo(refined, params, test))
        assert mean > 0.02
        assert z > 5

    def frozen(params, example):
        def climb(_, own):
            keys = jax.random.split(KEY, 1)

            def value(own):
                terms = weigh_own_samples(amortized, params, own, keys, example)
                return plain(terms).mean()

            # A step of Adam, without its memory.
            return jax.tree.map(
                lambda leaf, slope: leaf + 0.05 * jnp.sign(slope),
                own,
                jax.grad(value)(own),
            )

        return jax.lax.fori_loop(0, 100, climb, amortized.encode(params, example))

    overfitted = dataclasses.replace(amortized, encode=frozen)
    assert gain(before, mean_elbo(overfitted, params, test))[1] < -5


def test_the_noise_of_refinement_is_a_function_of_the_example():
    images = jax.random.bernoulli(KEY, 0.5, (2000, 4, 4)).astype(jnp.float32)
    keys = jax.random.key_data(jax.vmap(key_of)(images))
    assert len(np.unique(keys, axis=0)) == len(np.unique(images, axis=0))
    np.testing.assert_array_equal(keys[0], jax.random.key_data(key_of(images[0])))


def test_refinement_stays_in_the_family():
    """The posterior keeps a floor of 2 nats per latent, which the ELBO would lower."""
    settings = {"data_shape": (3,), "latent_dim": 2, "hidden": (4,)}
    floor = {"posterior_settings": {"min_kl": 2.0}}
    model = gaussian_mlp(**settings, posterior="floored_normal", **floor)
    params = model.init(KEY)
    prior = NormalParams(jnp.zeros(2), jnp.zeros(2))

    def least_kl(model):
        q = with_refinement(model, 100, 0.05).encode(params, Example(X[0]))
        return jax.vmap(diagonal_normal().kl)(q, prior).min()

    assert least_kl(model) > 2 - 1e-4
    free = dataclasses.replace(model, posterior=diagonal_normal())
    assert least_kl(free) < 0.5
    with pytest.raises(IncompatibleError, match="use the prior standard_normal"):
        gaussian_mlp(**settings, posterior="floored_normal", prior="gaussian_mixture")
    with pytest.raises(VaejaxError, match=r"min_kl is 800.0: .* at most 10"):
        floored_normal(800.0)


@pytest.mark.parametrize("flow", ["iaf", "coupling_flow", "spline_flow"])
def test_weights_of_a_flow_are_no_examples_own(flow):
    model = gaussian_mlp(data_shape=(3,), latent_dim=2, hidden=(4,), posterior=flow)
    for refused in (
        lambda: amortization_gap(model, model.init(KEY), Example(X), KEY),
        lambda: with_refinement(model, 1, 0.1),
    ):
        with pytest.raises(IncompatibleError, match="weights of their own"):
            refused()


@pytest.mark.parametrize("step_size", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_size_is_a_finite_number_above_zero(step_size):
    with pytest.raises(VaejaxError, match="use a finite number above 0"):
        with_refinement(MODEL, 1, step_size)


def test_latents_without_a_path_are_refused():
    discrete = sigmoid_belief_network(data_shape=(3,), latent_dim=2)
    with pytest.raises(IncompatibleError, match="reparameterisable"):
        with_refinement(discrete, 1, 0.1)
    with pytest.raises(IncompatibleError, match="reparameterisable"):
        amortization_gap(discrete, discrete.init(KEY), Example(X), KEY)
