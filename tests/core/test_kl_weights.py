"""KL weights: schedules by their values, constraints by the exact problem solved."""

import inspect
import re
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree

from experiments.training.config import Config
from experiments.training.optimizer import make_optimizer
from vaejax import kl_weights
from vaejax.bounds import BOUNDS, beta_elbo, elbo, elbo_analytic_kl
from vaejax.core import Batch, Example, LossState, VaejaxError
from vaejax.estimators import dreg, pathwise
from vaejax.families import FAMILIES, NormalParams, diagonal_normal, floored_normal
from vaejax.kl_weights import (
    KL_WEIGHTS,
    constant,
    cosine,
    cyclical,
    distortion_at_most,
    kl_at_most,
    linear,
)
from vaejax.models import gaussian_mlp, linear_gaussian
from vaejax.models.linear_gaussian import exact_elbo
from vaejax.objective import make_objective
from vaejax.problems import weight_of_kl
from vaejax.regularizers import capacity, free_bits
from vaejax.training import encoder_first, fit

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
MODEL = linear_gaussian(data_shape=(3,), latent_dim=1)
# A strong direction and two weak ones.
X = np.random.default_rng(0).normal(size=(64, 3)) @ np.diag([2.0, 0.7, 0.5])


def betas(weight, steps):
    """The weights as training compiles them: a division may become a product."""
    state, found, of = weight.init(), [], jax.jit(weight.weight)
    for _ in range(steps):
        found.append(float(of(state)))
        state = weight.update(state, {})
    return np.array(found)


def test_schedules_reach_their_ends_in_their_steps():
    up = np.linspace(0, 1, 5)
    np.testing.assert_allclose(betas(linear(4), 6), [*up, 1], rtol=1e-6)
    np.testing.assert_allclose(betas(linear(4, 2.0, 0.5), 6), [*(2 - 1.5 * up), 0.5])
    np.testing.assert_allclose(
        betas(cosine(4), 6), [*(1 - np.cos(np.pi * up)) / 2, 1], atol=1e-6
    )
    saw = [0, 0.5, 1, 1]
    np.testing.assert_allclose(betas(cyclical(8, cycles=2), 10), [*saw, *saw, 1, 1])
    np.testing.assert_allclose(betas(constant(3.0), 2), [3, 3])


@pytest.mark.parametrize(("num_steps", "cycles"), [(49, 7), (10, 3), (100, 7), (7, 2)])
def test_cycles_begin_at_their_steps_whatever_their_length(num_steps, cycles):
    exact = [
        min(2 * (Fraction(cycles * step, num_steps) % 1), 1)
        for step in range(num_steps)
    ]
    found = betas(linear(num_steps, cycles=cycles), num_steps + 2)
    np.testing.assert_allclose(found, [*map(float, exact), 1, 1], atol=1e-6)


def test_more_steps_than_an_integer_holds_are_refused():
    with pytest.raises(VaejaxError, match=r"below 2\^31"):
        linear(10**9, cycles=3)


@pytest.mark.parametrize("name", KL_WEIGHTS)
def test_every_weight_builds_and_refuses_what_is_no_number(name):
    assert KL_WEIGHTS[name]().name in KL_WEIGHTS
    for setting, parameter in inspect.signature(KL_WEIGHTS[name]).parameters.items():
        if parameter.annotation is float:
            with pytest.raises(VaejaxError, match=f"{setting}=nan must be a number"):
                KL_WEIGHTS[name](**{setting: float("nan")})


@pytest.mark.parametrize("bound", ["elbo", "elbo_analytic_kl", "iwae"])
def test_a_constant_weight_is_the_bound_with_that_weight(bound):
    """Value and gradient: of the beta-ELBO, or of a closed form weighed."""
    batch = Batch(Example(jnp.asarray(X[:4], jnp.float32)), jnp.arange(4))
    build = partial(make_objective, MODEL, estimator=dreg(), num_samples=2)
    weighed = build(BOUNDS[bound](), kl_weight=constant(3.0))
    params, state = weighed.init(KEY)
    loss, (_, metrics) = weighed.loss(params, state, KEY, batch)
    assert metrics["beta"] == 3
    plain_elbo = metrics["log_px_z"] - metrics["kl"]
    np.testing.assert_allclose(metrics["elbo"], plain_elbo, rtol=1e-6)
    if bound == "elbo":
        other = build(beta_elbo(3.0))
        assert weight_of_kl(beta_elbo(3.0)) == 3
        both = [
            jax.grad(lambda p, o=o, s=s: o.loss(p, s, KEY, batch)[0])(params)
            for o, s in ((weighed, state), (other, LossState()))
        ]
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), *both)
    elif bound == "elbo_analytic_kl":
        unweighed = [
            -build(BOUNDS[bound](), kl_weight=constant(beta)).loss(
                params, LossState(), KEY, batch
            )[0]
            for beta in (0.0, 1.0)
        ]
        kl = unweighed[0] - unweighed[1]
        np.testing.assert_allclose(-loss, unweighed[0] - 3 * kl, rtol=1e-5)
    else:
        assert abs(loss + metrics["bound"]) < 1e-6


@pytest.fixture(scope="module")
def exact():
    """KL and distortion of the exact solution for a beta, by BFGS in float64."""
    with jax.enable_x64(True):
        start, unravel = ravel_pytree(
            jax.tree.map(lambda leaf: leaf.astype(jnp.float64), MODEL.init(KEY))
        )
        x = jnp.asarray(X)

        def kl_and_distortion(flat):
            params = unravel(flat)
            q = jax.vmap(lambda one: MODEL.encode(params, Example(one)))(x)
            prior = NormalParams(jnp.zeros(1), jnp.zeros(1))
            kl = jax.vmap(lambda p: diagonal_normal().kl(p, prior))(q).mean()
            value = jax.vmap(lambda one: exact_elbo(MODEL, params, one))(x).mean()
            return kl, -(value + kl)

        def lagrangian(flat, beta):
            kl, distortion = kl_and_distortion(flat)
            return distortion + beta * kl

        step = jax.jit(jax.value_and_grad(lagrangian))
        of = jax.jit(kl_and_distortion)

        def solve(beta):
            with jax.enable_x64(True):
                found = scipy.optimize.minimize(
                    lambda flat: jax.tree.map(np.asarray, step(flat, beta)),
                    np.asarray(start),
                    jac=True,
                    method="BFGS",
                    options={"gtol": 1e-8},
                )
                return [float(value) for value in of(found.x)]

        return solve


@pytest.mark.parametrize(
    ("weight", "constrained"),
    [(kl_at_most(1.0), 0), (distortion_at_most(3.4), 1)],
)
def test_the_multiplier_is_the_beta_of_the_unconstrained_problem(
    weight, constrained, exact
):
    """Karush-Kuhn-Tucker: the constraint is met, and beta solves KL(beta) = limit."""
    limit = (1.0, 3.4)[constrained]
    beta = scipy.optimize.brentq(
        lambda beta: exact(beta)[constrained] - limit, 0.5, 6, xtol=1e-4
    )
    objective = make_objective(
        MODEL, elbo_analytic_kl(), pathwise(), num_samples=20, kl_weight=weight
    )
    # Every example a hundred times: an epoch is a hundred steps.
    data = Example(jnp.asarray(np.tile(X, (100, 1)), jnp.float32))
    metrics = []
    fit(
        objective,
        optax.adam(0.01),
        data,
        epochs=30,
        batch_size=len(X),
        key=KEY,
        on_epoch=lambda report: metrics.append(report.metrics),
    )
    late = metrics[-10:]
    reached = np.mean([m["kl"] for m in late]), -np.mean([m["log_px_z"] for m in late])
    assert reached[constrained] == pytest.approx(limit, rel=0.01)
    found = np.mean([m["beta"] for m in late])
    assert found == pytest.approx(beta, rel=0.02)
    # Where the limit moves by a tenth, so does beta, by four times that tolerance.
    moved = scipy.optimize.brentq(
        lambda beta: exact(beta)[constrained] - 1.1 * limit, 0.2, 6, xtol=1e-4
    )
    assert abs(moved / beta - 1) > 0.08


def followed(weight, plant, steps):
    """Beta and KL, where training is a lag of 500 steps behind the plant's KL(beta)."""

    def step(carry, _):
        state, kl = carry
        beta = weight.weight(state)
        kl += (plant(beta) - kl) / 500
        metrics = {"kl": kl, "log_px_z": -plant(1.0)}
        return (weight.update(state, metrics), kl), (beta, kl)

    start = weight.init(), jnp.zeros(())
    return map(np.asarray, jax.lax.scan(step, start, length=steps)[1])


def test_the_multiplier_does_not_wind_up(monkeypatch):
    """From far below the limit the KL rises to it; the control is the sum alone."""

    def plant(beta):
        return 10 / jnp.sqrt(beta)

    beta, kl = followed(kl_at_most(40.0), plant, 10_000)
    assert kl.max() < 1.05 * 40
    assert kl[-1] == pytest.approx(40, rel=0.01)
    assert beta[-1] == pytest.approx(1 / 16, rel=0.02)
    with monkeypatch.context() as patch:
        patch.setattr(kl_weights, "PROPORTION", 0.0)
        _, kl = followed(kl_at_most(40.0), plant, 10_000)
    assert kl.max() > 1.2 * 40
    # For long out of reach, in either direction, and then within.
    for size in (1.0, 1000.0):
        beta, kl = followed(kl_at_most(40.0), lambda beta, n=size: n, 5000)
        assert beta[-1] == pytest.approx(1e-3 if size < 40 else 1e3)
        state = weight_after(kl_at_most(40.0), {"kl": size}, 5000)
        back = weight_after(kl_at_most(40.0), {"kl": 40 + (40 - size)}, 100, state)
        assert abs(np.log(kl_at_most().weight(back) / beta[-1])) > 0.9


def weight_after(weight, metrics, steps, state=None):
    """The state of so many steps with the same metrics."""

    def step(_, state):
        return weight.update(state, {k: jnp.float32(v) for k, v in metrics.items()})

    return jax.lax.fori_loop(0, steps, step, state or weight.init())


@pytest.mark.parametrize(
    ("weight", "metrics", "remark"),
    [
        (kl_at_most(10.0), {"kl": 10.1, "beta": 2.0}, None),
        (
            kl_at_most(10.0, num_steps=9),
            {"kl": 11, "beta": 2.0},
            "not met .10%.*longer",
        ),
        (kl_at_most(10.0), {"kl": 11, "beta": 1e3}, "cannot be met .*larger limit"),
        (kl_at_most(10.0), {"kl": 9, "beta": 1e-3}, "does not bind .*leave it out"),
        (distortion_at_most(-5.0), {"log_px_z": 5.05, "beta": 1.0}, None),
        (distortion_at_most(5.0), {"log_px_z": -6, "beta": 1e-3}, "cannot be met"),
        (distortion_at_most(5.0), {"log_px_z": -4, "beta": 1e3}, "does not bind"),
        (distortion_at_most(5.0), {"log_px_z": -4, "beta": 1.0}, "not reached .20%"),
        (constant(), {"kl": 11, "beta": 2.0}, None),
    ],
)
def test_a_limit_that_was_not_kept_is_told(weight, metrics, remark):
    found = weight.remark({name: float(value) for name, value in metrics.items()})
    assert found is None if remark is None else re.search(remark, found)


def kl_of(model, params, batch):
    q = jax.vmap(lambda one: model.encode(params, Example(one)))(batch.example.x)
    return 0.5 * (q.loc**2 + jnp.exp(2 * q.log_scale) - 1) - q.log_scale


def test_free_bits_and_capacity_are_their_formulas():
    model = gaussian_mlp(data_shape=(3,), latent_dim=4, hidden=())
    params = model.init(KEY)
    batch = Batch(Example(jnp.asarray(X[:8], jnp.float32)), jnp.arange(8))
    kl = np.asarray(kl_of(model, params, batch)).mean(0)
    nats = float(np.median(kl))  # half of the latents lie below it
    for groups, by_group in ((None, kl), (2, kl.reshape(2, 2).sum(1)), (1, [kl.sum()])):
        found = free_bits(nats, groups).penalty(model, params, KEY, batch)
        expected = np.maximum(nats - np.asarray(by_group), 0).sum()
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert groups or found > 0
    found = capacity(2.0, 5.0).penalty(model, params, KEY, batch)
    np.testing.assert_allclose(found, 5 * abs(kl.sum() - 2) - kl.sum(), rtol=1e-5)
    assert "equal groups" in free_bits(0.1, 3).needs(model)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_factorised_familys_kl_is_the_sum_over_its_coordinates(name):
    family = FAMILIES[name]()
    if not family.factorised or family.kl is None:
        pytest.skip(f"{name} has no KL by coordinate")
    shape = family.head.outputs_per_coordinate, 3
    p, q = (
        family.head.from_outputs(0.5 * jax.random.normal(jax.random.key(i), shape))
        for i in (1, 2)
    )
    each = jax.vmap(family.kl)(p, q)
    assert each.shape == (3,)
    np.testing.assert_allclose(each.sum(), family.kl(p, q), rtol=1e-5)


def test_a_floored_normal_has_its_floor_and_reaches_it():
    family = floored_normal(0.3)
    outputs = jnp.array([[0.0, 0.0, 5.0, 0.0], [50.0, 3.0, 0.0, -20.0]])
    p = family.head.from_outputs(outputs)
    prior = NormalParams(jnp.zeros(4), jnp.zeros(4))
    kl = np.asarray(jax.vmap(family.kl)(p, prior))
    assert kl[0] == pytest.approx(0.3, rel=1e-4)
    assert np.all(kl[1:] > 0.3)


def test_the_encoder_goes_first_then_all_go():
    params = MODEL.init(KEY)
    optimizer = encoder_first(optax.sgd(0.1), 3, until=6)
    state = optimizer.init(params)
    ones = jax.tree.map(jnp.ones_like, params)
    moved = []
    for _ in range(8):
        updates, state = optimizer.update(ones, state, params)
        groups = updates.encoder, updates.decoder
        moved.append([float(optax.tree.norm(group)) > 0 for group in groups])
    encoder, decoder = zip(*moved, strict=True)
    assert all(encoder)
    assert decoder == (False, False, True, False, False, True, True, True)


@pytest.mark.parametrize(
    ("prior", "moves"), [("implicit_optimal", True), ("vamp", False)]
)
def test_a_density_ratio_tracks_the_encoder_at_every_step(prior, moves):
    config = Config(
        dataset="digits",
        epochs=2,
        encoder_steps=5,
    )
    model = gaussian_mlp(hidden=(4,), latent_dim=2, prior=prior)
    params = model.init(KEY)
    optimizer = make_optimizer(config, model, 1000)
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(ones, optimizer.init(params), params)
    assert (optax.tree.norm(updates.prior) > 0) == moves
    assert optax.tree.norm(updates.decoder) == 0


def test_bounds_say_their_own_weight():
    weights = {name: weight_of_kl(factory()) for name, factory in BOUNDS.items()}
    assert weights.pop("beta_elbo") == 4
    assert weights.pop("reconstruction") == 0
    assert set(weights.values()) == {1.0}
    assert weight_of_kl(elbo()) == 1
