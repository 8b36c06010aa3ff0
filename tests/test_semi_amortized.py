"""Refined posteriors: against the exact posterior of the linear-Gaussian model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.bounds import elbo
from vaejax.core import Batch, Example, IncompatibleError
from vaejax.estimators import pathwise
from vaejax.evaluation import amortization_gap
from vaejax.models import linear_gaussian, sigmoid_belief_network, with_refinement
from vaejax.models.linear_gaussian import exact_elbo, exact_log_px
from vaejax.objective import make_objective

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
        return objective.loss(PARAMS._replace(encoder=encoder), (), KEY, batch)[0]

    with jax.enable_x64(True):
        bias = jnp.asarray([0.3])
        slope = jax.grad(loss)(bias)
        difference = (loss(bias + 1e-4) - loss(bias - 1e-4)) / 2e-4
    np.testing.assert_allclose(slope[0], difference, rtol=0.01)


def test_latents_without_a_path_are_refused():
    discrete = sigmoid_belief_network(data_shape=(3,), latent_dim=2)
    with pytest.raises(IncompatibleError, match="reparameterisable"):
        with_refinement(discrete, 1, 0.1)
    with pytest.raises(IncompatibleError, match="reparameterisable"):
        amortization_gap(discrete, discrete.init(KEY), Example(X), KEY)
