"""The promises of each gradient estimator beyond the contract."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from vaejax.benchmark import gradient_moments
from vaejax.bounds import cubo, elbo, iwae
from vaejax.compatibility import check
from vaejax.core import (
    Batch,
    Bound,
    Example,
    LogTerms,
    LossState,
    Model,
    Params,
    Problem,
)
from vaejax.estimators import ESTIMATORS, dreg, pathwise, rloo, score_function, stl
from vaejax.estimators.dreg import path_weights
from vaejax.models import gaussian_mlp, linear_gaussian
from vaejax.models.linear_gaussian import exact_posterior
from vaejax.objective import make_objective
from vaejax.terms import scale_gradient, with_value

pytestmark = pytest.mark.slow


def gradient(
    model: Model, params: Params, examples: Example, bound: Bound, estimator, k: int
) -> Params:
    objective = make_objective(model, bound, estimator, num_samples=k, allow_bias=True)
    batch = Batch(examples, jnp.arange(len(examples.x)))
    return jax.jit(jax.grad(objective.loss, has_aux=True))(
        params, LossState(), jax.random.key(0), batch
    )[0]


def at_exact_posterior() -> tuple[Model, Params, Example]:
    """A linear-Gaussian model of one latent whose encoder is p(z|x)."""
    model = linear_gaussian(data_shape=(3,), latent_dim=1)
    params = model.init(jax.random.key(4))
    origin = exact_posterior(params, jnp.zeros(3))
    weight = jnp.stack(
        [exact_posterior(params, x).mean - origin.mean for x in jnp.eye(3)], axis=1
    )
    log_scale = 0.5 * jnp.log(jnp.diagonal(origin.covariance))
    encoder = {"weight": weight, "bias": origin.mean, "log_scale": log_scale}
    x = jnp.array([[0.3, -1.0, 0.8], [1.2, 0.1, -0.4]])
    return model, params._replace(encoder=encoder), Example(x)


@pytest.mark.parametrize("bound", [elbo(), iwae()], ids=lambda bound: bound.name)
def test_stl_and_dreg_land_at_the_exact_posterior(bound):
    """log w is constant in z there: no noise is left, and no gradient."""
    model, params, examples = at_exact_posterior()
    for estimator in (stl(), dreg()):
        found = gradient(model, params, examples, bound, estimator, 4).encoder
        assert np.abs(oracles.flat(found)).max() < 2e-6, estimator.name


def test_pathwise_does_not_land():
    model, params, examples = at_exact_posterior()
    found = gradient(model, params, examples, elbo(), pathwise(), 4).encoder
    assert np.abs(oracles.flat(found)).max() > 0.1


def test_dreg_is_stl_on_the_elbo():
    name = "linear_gaussian"
    at = oracles.MODELS[name], oracles.params_of(name), oracles.examples_of(name)
    a, b = (oracles.flat(gradient(*at, elbo(), e, 5)) for e in (stl(), dreg()))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_dreg_weighs_paths_by_the_squared_normalised_weight():
    log_w = jnp.array([0.3, -1.0, 2.0, 0.5])
    terms = LogTerms(log_w, jnp.zeros(4), jnp.zeros(4))
    slope, path_scale = path_weights(iwae(), terms)
    normalized = jax.nn.softmax(log_w)
    np.testing.assert_allclose(slope, normalized, rtol=1e-6)
    np.testing.assert_allclose(slope * path_scale, normalized**2, rtol=1e-5)


def test_dreg_finds_a_missing_curvature_by_autodiff():
    terms = LogTerms(jnp.array([0.3, -1.0, 2.0]), jnp.zeros(3), jnp.zeros(3))
    without = dataclasses.replace(iwae(), curvature=None)
    for a, b in zip(
        path_weights(iwae(), terms), path_weights(without, terms), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_dreg_survives_weights_that_underflow():
    terms = LogTerms(jnp.array([0.0, -1e4, -200.0]), jnp.zeros(3), jnp.zeros(3))
    slope, path_scale = path_weights(iwae(), terms)
    assert np.isfinite(path_scale).all()
    np.testing.assert_allclose(slope * path_scale, [1.0, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("estimator", [stl(), dreg()], ids=lambda e: e.name)
def test_one_backward_pass_is_enough(estimator):
    """XLA merges the repeated forward pass: the work is pathwise's, within 2%."""
    model = gaussian_mlp()
    examples = Example(jnp.zeros((4, 28, 28, 1)))
    batch = Batch(examples, jnp.arange(4))

    def flops(candidate) -> float:
        objective = make_objective(
            model, iwae(), candidate, num_samples=8, allow_bias=True
        )
        params, state = objective.init(jax.random.key(0))
        compiled = (
            jax.jit(jax.grad(objective.loss, has_aux=True))
            .lower(params, state, jax.random.key(1), batch)
            .compile()
        )
        return compiled.cost_analysis()["flops"]

    assert flops(estimator) <= 1.02 * flops(pathwise())


def test_leave_one_out_weighs_by_the_others():
    """On the ELBO sample k is weighed by (f_k - mean of the others) / K."""
    name = "sigmoid_belief_network"
    at = oracles.MODELS[name], oracles.params_of(name), oracles.examples_of(name)
    two = oracles.flat(gradient(*at, elbo(), rloo(), 2).encoder)
    none = oracles.flat(gradient(*at, elbo(), score_function(), 2).encoder)
    assert np.abs(two - none).max() > 1e-3
    # A constant added to every log-weight changes nothing for it.
    shifted = dataclasses.replace(
        elbo(), log_weight=lambda t: t.log_px_z + t.log_pz - t.log_qz + 100.0
    )
    moved = oracles.flat(gradient(*at, shifted, rloo(), 2).encoder)
    np.testing.assert_allclose(moved, two, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bound", [iwae(), cubo()], ids=lambda bound: bound.name)
@pytest.mark.parametrize("name", oracles.CORE)
def test_the_loss_is_the_bound_whatever_the_surrogate(name, bound):
    """Minus a lower bound, plus an upper one, for every estimator that takes it."""
    model, batch = oracles.MODELS[name], oracles.batch_of(name)
    problem = Problem(model=model, bound=bound, num_samples=2)
    objectives = [
        make_objective(model, bound, estimator, num_samples=2, allow_bias=True)
        for estimator in (factory() for factory in ESTIMATORS.values())
        if check(problem, estimator).status != "refused"
    ]
    assert objectives

    @jax.jit
    def losses_and_bounds(params, states, key):
        found = [
            objective.loss(copy, state, key, batch)
            for objective, (_, copy), state in zip(
                objectives, params.auxiliary, states, strict=True
            )
        ]
        return [(loss, metrics["bound"]) for loss, (_, metrics) in found]

    started = oracles.start_of(name, objectives)
    sign = 1 if bound.minimised else -1
    for loss, value in losses_and_bounds(*started, jax.random.key(1)):
        np.testing.assert_allclose(loss, sign * value, rtol=1e-6)


def test_with_value_is_not_rounded_off_by_a_huge_surrogate():
    value, slope = jax.value_and_grad(
        lambda s: with_value(1e9 * s, jnp.asarray(-91.2345))
    )(3.0)
    assert value == np.float32(-91.2345)
    assert slope == np.float32(1e9)


def test_scale_gradient_weighs_each_sample():
    z = jnp.arange(6.0).reshape(3, 2)
    scale = jnp.array([0.0, 1.0, -2.0])
    value, found = jax.value_and_grad(lambda z: (scale_gradient(z, scale) ** 2).sum())(
        z
    )
    assert value == (z**2).sum()
    np.testing.assert_allclose(found, 2 * z * scale[:, None])


def encoder_snr(estimator, num_samples: int, draws: int = 2000) -> float:
    """Norm of the mean encoder gradient over the root of its variance.

    The proposal is somewhat wider than the posterior and off its mean, so that the
    weights have the finite variance which the laws assume.
    """
    model, params, examples = at_exact_posterior()
    params.encoder["log_scale"] += 0.3
    params.encoder["bias"] += 0.3
    objective = make_objective(model, iwae(), estimator, num_samples=num_samples)
    batch = Batch(examples, jnp.arange(len(examples.x)))
    moments = gradient_moments(
        objective, params, LossState(), jax.random.key(2), batch, draws=draws
    )
    mean, variance = (
        oracles.flat(tree.encoder) for tree in (moments.mean, moments.variance)
    )
    return np.linalg.norm(mean) / np.sqrt(variance.sum())


def test_more_samples_help_dreg_and_hurt_pathwise():
    """Rainforth et al. 2018 and Tucker et al. 2019: slopes -1/2 and +1/2 in log K.

    Between K = 8 and K = 128 that is a factor of 4 either way; half of it is asked.
    """
    assert encoder_snr(dreg(), 128) > 2 * encoder_snr(dreg(), 8)
    assert encoder_snr(pathwise(), 128) < encoder_snr(pathwise(), 8) / 2


def test_stl_knows_that_separable_is_not_linear():
    """F = mean_k tanh(log_w_k) weighs the score by a function of its own sample."""
    bent = Bound(
        name="bent", aggregate=lambda log_w: jnp.tanh(log_w).mean(), separable=True
    )
    model = oracles.MODELS["linear_gaussian"]
    for num_samples in (1, 4):
        problem = Problem(model=model, bound=bent, num_samples=num_samples)
        assert check(problem, stl()).status == "biased"
        assert check(problem, dreg()).status == "unbiased"
    single = Problem(model=model, bound=iwae(), num_samples=1)
    assert check(single, stl()).status == "unbiased"
