"""Relaxations: which are unbiased, how biased the others are, what noise they save."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from jax.lax import stop_gradient
from scipy.stats import norm

from vaejax.bounds import cubo, elbo, iwae
from vaejax.compatibility import check
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Example,
    IncompatibleError,
    Model,
    Objective,
    Params,
    Problem,
    VaejaxError,
)
from vaejax.estimators import (
    gumbel_rao,
    gumbel_softmax,
    rebar,
    reinmax,
    relax,
    score_function,
    st_gumbel_softmax,
    straight_through,
)
from vaejax.estimators.relaxed import draw
from vaejax.exact import value_and_gradient
from vaejax.families import bernoulli, categorical
from vaejax.models import bernoulli_toy
from vaejax.objective import make_objective
from vaejax.terms import bound_value, log_terms

pytestmark = pytest.mark.slow

DRAWS = 100_000
TESTS = 2000  # coordinates compared in this file, generously
THRESHOLD = norm.isf(norm.sf(5) / TESTS)  # one test's |z| = 5, by Bonferroni

BIASED = [
    gumbel_softmax(),
    st_gumbel_softmax(),
    straight_through(),
    gumbel_rao(),
    reinmax(),
]
UNBIASED = [rebar(), relax(), relax(network="alone")]


# Models small enough to enumerate.


def reward(power: int = 1, **fields) -> Bound:
    """E (b - t)^(2 power) on `bernoulli_toy`: no KL, no other term."""

    def cost(terms):
        return (-0.5 * math.log(math.pi) - terms.log_px_z) ** power

    return Bound(
        name="reward",
        aggregate=jnp.mean,
        log_weight=cost,
        separable=True,
        **fields,
    )


MODELS = {
    "bernoulli": oracles.MODELS["sigmoid_belief_network"],
    "categorical": oracles.MODELS["categories"],
    "toy 0.499": bernoulli_toy(),
    "toy 0.2": bernoulli_toy(),
}


@functools.cache
def params_of(name: str, scale: float = 0.4) -> Params:
    leaves, structure = jax.tree.flatten(MODELS[name].init(jax.random.key(1)))
    keys = jax.random.split(jax.random.key(6), len(leaves))
    noise = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(
        structure, [x + scale * n for x, n in zip(leaves, noise, strict=True)]
    )


def examples_of(name: str) -> Example:
    if name.startswith("toy "):
        return Example(jnp.full((2, 1), float(name.removeprefix("toy "))))
    return oracles.examples_of("sigmoid_belief_network")


@functools.cache
def exact(name: str, bound: Bound, num_samples: int, scale: float = 0.4) -> np.ndarray:
    problem = Problem(model=MODELS[name], bound=bound, num_samples=num_samples)
    params = params_of(name, scale)
    return oracles.flat(value_and_gradient(problem, params, examples_of(name)).gradient)


class Gradients:
    """Draws of an estimate, at any parameters of its own, with one compilation."""

    def __init__(self, name, bound, estimator, num_samples, scale=0.4):
        self.objective = make_objective(
            MODELS[name], bound, estimator, num_samples=num_samples, allow_bias=True
        )
        fresh, self.state = self.objective.init(jax.random.key(3))
        self.auxiliary = fresh.auxiliary
        self.params = params_of(name, scale)
        self.truth = exact(name, bound, num_samples, scale)
        examples = examples_of(name)
        batch = Batch(examples, jnp.arange(len(examples.x)))
        sign = 1 if bound.minimised else -1  # from the loss's gradient to the bound's

        @jax.jit
        def gradients(auxiliary, keys):
            def one(key):
                def loss(params):
                    params = params._replace(auxiliary=auxiliary)
                    return self.objective.loss(params, self.state, key, batch)[0]

                leaves = jax.tree.leaves(jax.grad(loss)(self.params))
                return sign * jnp.concatenate([leaf.ravel() for leaf in leaves])

            return jax.lax.map(one, keys, batch_size=5000)

        self.gradients = gradients

    def draw(self, auxiliary=None, draws=DRAWS, seed=0) -> np.ndarray:
        auxiliary = self.auxiliary if auxiliary is None else auxiliary
        keys = jax.random.split(jax.random.key(seed), draws)
        return np.asarray(self.gradients(auxiliary, keys), np.float64)

    def z(self, auxiliary=None) -> np.ndarray:
        found = self.draw(auxiliary)
        drawn = oracles.Drawn(found.mean(0), found.std(0) / math.sqrt(len(found)))
        return oracles.z_scores(drawn, self.truth)


def perturbed(auxiliary):
    leaves, structure = jax.tree.flatten(auxiliary)
    keys = jax.random.split(jax.random.key(8), len(leaves))
    moved = [
        x + 0.5 * jax.random.normal(k, x.shape)
        for k, x in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


def trained(
    objective: Objective, params: Params, example: Example, steps: int, size: int = 16
):
    """Its own parameters after some steps of Adam; the model's stay where they are."""
    fresh, state = objective.init(jax.random.key(3))
    optimizer = optax.adam(0.02)
    batch = Batch(
        jax.tree.map(lambda leaf: jnp.resize(leaf, (size, *leaf.shape[1:])), example),
        jnp.arange(size),
    )

    def step(carry, key):
        auxiliary, moments = carry
        slope = jax.grad(
            lambda auxiliary: objective.loss(
                params._replace(auxiliary=auxiliary), state, key, batch
            )[0]
        )(auxiliary)
        updates, moments = optimizer.update(slope, moments)
        return (optax.apply_updates(auxiliary, updates), moments), None

    keys = jax.random.split(jax.random.key(9), steps)
    start = fresh.auxiliary, optimizer.init(fresh.auxiliary)
    (auxiliary, _), _ = jax.jit(lambda: jax.lax.scan(step, start, keys))()
    return auxiliary


# Control variates by relaxation.


@pytest.mark.parametrize(
    ("bound", "num_samples"), [(elbo(), 1), (iwae(), 4)], ids=["elbo", "iwae"]
)
@pytest.mark.parametrize("estimator", UNBIASED, ids=["rebar", "relax", "alone"])
def test_control_variates_are_unbiased(estimator, bound, num_samples):
    """The mean holds at any parameters of the control variates."""
    gradients = Gradients("bernoulli", bound, estimator, num_samples)
    assert gradients.z(perturbed(gradients.auxiliary)).max() < THRESHOLD


def test_an_upper_bound_has_its_control_variate_too():
    assert Gradients("bernoulli", cubo(), rebar(), 2).z().max() < THRESHOLD


@pytest.mark.parametrize("estimator", UNBIASED, ids=["rebar", "relax", "alone"])
def test_training_the_control_variate_leaves_it_unbiased(estimator):
    gradients = Gradients("bernoulli", iwae(), estimator, 2)
    auxiliary = trained(
        gradients.objective, gradients.params, examples_of("bernoulli"), steps=300
    )
    moved = jax.tree.map(lambda a, b: a - b, auxiliary, gradients.auxiliary)
    assert np.abs(oracles.flat(moved)).max() > 0.1
    assert gradients.z(auxiliary).max() < THRESHOLD
    before, after = gradients.draw(), gradients.draw(auxiliary)
    assert after.var(0).sum() < before.var(0).sum()


def with_relaxation(relaxation) -> Model:
    model = MODELS["bernoulli"]
    couplings = dataclasses.replace(model.posterior.couplings, relax=relaxation)
    family = dataclasses.replace(model.posterior, couplings=couplings)
    return dataclasses.replace(model, posterior=family)


RELAX = bernoulli().couplings.relax


def with_conditional(conditional) -> Model:
    return with_relaxation(dataclasses.replace(RELAX, conditional=conditional))


WRONG = {
    "no gradient of c(zeta~)": lambda lam, v, b, t: stop_gradient(
        RELAX.conditional(lam, v, b, t)
    ),
    "zeta~ given the other outcome": lambda lam, v, b, t: RELAX.conditional(
        lam, v, 1 - b, t
    ),
}


@pytest.mark.parametrize("estimator", UNBIASED[:2], ids=lambda e: e.name)
@pytest.mark.parametrize("wrong", WRONG)
def test_broken_control_variates_are_rejected(monkeypatch, wrong, estimator):
    monkeypatch.setitem(MODELS, "bernoulli", with_conditional(WRONG[wrong]))
    exact.cache_clear()
    assert Gradients("bernoulli", elbo(), estimator, 2).z().max() > 20
    exact.cache_clear()


def toy_variance(name: str, estimator: Estimator) -> float:
    """The variance of the gradient of the toy's logit, variate trained."""
    gradients = Gradients(name, reward(), estimator, 1)
    auxiliary = trained(
        gradients.objective, gradients.params, examples_of(name), steps=3000
    )
    assert gradients.z(auxiliary).max() < THRESHOLD
    return gradients.draw(auxiliary).var(0)[0]


def test_trained_control_variates_are_quieter_than_the_score_function():
    """The variances are those of the gradient of E (b - 0.2)^2."""
    none, relaxed, learned = (
        toy_variance("toy 0.2", e) for e in (score_function(), rebar(), relax())
    )
    assert relaxed < 0.1 * none
    assert learned < 0.1 * none


def test_relax_helps_where_rebar_has_nothing_to_offer():
    """Grathwohl et al. 2018: E (b - 0.499)^2.

    The relaxed function is all but even about 1/2, and at no scale or temperature does
    its control variate correlate with the score.
    """
    none, relaxed, learned = (
        toy_variance("toy 0.499", e) for e in (score_function(), rebar(), relax())
    )
    assert relaxed == pytest.approx(none, rel=0.05)
    assert learned < 0.1 * relaxed


@pytest.mark.parametrize("minimised", [False, True])
@pytest.mark.parametrize("estimator", UNBIASED[:2], ids=lambda e: e.name)
def test_own_parameters_descend_the_squared_estimate(estimator, minimised):
    """The encoder of the toy is lam, so that g is its gradient; by differences."""
    objective = make_objective(
        MODELS["toy 0.2"], reward(minimised=minimised), estimator, num_samples=3
    )
    params, state = objective.init(jax.random.key(3))
    params = params._replace(encoder={"logits": jnp.array([0.3])})
    batch = Batch(Example(jnp.array([[0.2]])), jnp.arange(1))

    @jax.jit
    def slopes(params):
        return jax.grad(
            lambda p: objective.loss(p, state, jax.random.key(0), batch)[0]
        )(params)

    found = slopes(params).auxiliary
    for name in ("eta", "log_temperature"):
        sides = []
        for step in (0.01, -0.01):
            auxiliary = params.auxiliary | {name: params.auxiliary[name] + step}
            slope = slopes(params._replace(auxiliary=auxiliary)).encoder["logits"]
            sides.append(slope**2)
        difference = (sides[0] - sides[1]).sum() / 0.02
        np.testing.assert_allclose(found[name], difference, rtol=0.02)


@pytest.mark.parametrize("bound", [elbo(), iwae(), cubo()], ids=lambda b: b.name)
def test_the_model_sees_discrete_latents_only(bound):
    """The model's gradient is that of F at b, whatever control variate lam has."""
    name = "bernoulli"
    params, examples = params_of(name), examples_of(name)
    batch = Batch(examples, jnp.arange(2))
    found = []
    for estimator in (straight_through(), rebar(), relax()):
        objective = make_objective(
            MODELS[name], bound, estimator, num_samples=3, allow_bias=True
        )
        fresh, state = objective.init(jax.random.key(3))
        slope = jax.jit(jax.grad(objective.loss, has_aux=True))(
            params._replace(auxiliary=fresh.auxiliary), state, jax.random.key(2), batch
        )[0]
        found.append(oracles.flat((slope.decoder, slope.prior)))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-4, atol=1e-6)


# Biased relaxations.


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
@pytest.mark.parametrize("bound", [elbo(), iwae()], ids=lambda bound: bound.name)
@pytest.mark.parametrize(
    "estimator", [*BIASED, *UNBIASED[:2]], ids=lambda estimator: estimator.name
)
def test_the_value_is_the_bound_at_discrete_samples(estimator, bound, name):
    model, params = MODELS[name], params_of(name)
    problem = Problem(model=model, bound=bound, num_samples=4)
    example = Example(jnp.array([1.0, 0.0, 1.0]))
    auxiliary, state = estimator.init(problem, jax.random.key(0))
    params = params._replace(auxiliary=auxiliary)
    value, stats = estimator.surrogate(
        problem, params, state, jax.random.key(7), example
    )
    lam = model.encode(params, example)
    z = draw(problem, lam, jax.random.key(7)).z
    assert set(np.unique(z)) <= {0.0, 1.0}
    terms = log_terms(model, params, lam, z, example)
    expected = bound_value(problem, params, lam, example, terms)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(stats["bound"], expected, rtol=1e-6)


def squared_bias(gradients: Gradients) -> tuple[float, float]:
    """The debiased ||E g - g*||^2, and tr Cov(g)."""
    found = gradients.draw()
    variance = found.var(0).sum()
    distance = np.square(found.mean(0) - gradients.truth).sum()
    return distance - variance / len(found), variance


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_colder_relaxations_have_less_bias_and_more_variance(name):
    biases, variances = zip(
        *[
            squared_bias(Gradients(name, elbo(), gumbel_softmax(t), 1))
            for t in (1.0, 0.4, 0.15)
        ],
        strict=True,
    )
    assert biases[0] > 2 * biases[1] > 4 * max(biases[2], 0)
    assert variances[0] < variances[1] < variances[2]


def test_straight_through_takes_the_slope_for_the_difference():
    """E g = p (1 - p) E f'(b), for f(b) = (b - 0.2)^4."""
    p = jax.nn.sigmoid(params_of("toy 0.2").encoder["logits"][0])
    mean_slope = 4 * (p * 0.8**3 - (1 - p) * 0.2**3)
    expected = p * (1 - p) * mean_slope
    found = Gradients("toy 0.2", reward(power=2), straight_through(), 1).draw()[:, 0]
    assert abs(found.mean() - expected) < 5 * found.std() / math.sqrt(DRAWS)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_reinmax_is_exact_for_quadratics_where_straight_through_is_not(num_samples):
    at = "toy 0.2", reward()
    assert Gradients(*at, reinmax(), num_samples).z().max() < THRESHOLD
    assert Gradients(*at, straight_through(), num_samples).z().max() > 20


@pytest.mark.parametrize("estimator", BIASED, ids=lambda estimator: estimator.name)
def test_every_relaxation_is_biased(estimator):
    """The reward f(b) = (b - 0.2)^8 is far from any quadratic."""
    assert Gradients("toy 0.2", reward(power=4), estimator, 1).z().max() > 20


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_gumbel_rao_is_st_gumbel_softmax_with_less_variance(name):
    plain, one, many = (
        Gradients(name, iwae(), estimator, 2).draw(draws=40_000, seed=seed)
        for seed, estimator in enumerate(
            (st_gumbel_softmax(0.2), gumbel_rao(1, 0.2), gumbel_rao(8, 0.2))
        )
    )
    for averaged in (one, many):
        spread = np.sqrt((plain.var(0) + averaged.var(0)) / len(plain))
        z = np.abs(plain.mean(0) - averaged.mean(0)) / np.maximum(spread, 1e-6)
        assert z.max() < THRESHOLD
    assert one.var(0).sum() == pytest.approx(plain.var(0).sum(), rel=0.1)
    assert many.var(0).sum() < 0.9 * plain.var(0).sum()


@pytest.mark.parametrize("family", [bernoulli(), categorical(4)], ids=lambda f: f.name)
def test_a_relaxed_event_has_the_derivative_of_a_mean(family):
    lam = jax.random.normal(jax.random.key(0), (3, 4))
    direction = jax.random.normal(jax.random.key(1), (3, 4))
    relaxed = family.couplings.relax
    u = relaxed.noise(jax.random.key(2), lam)
    zeta, expected = jax.jvp(
        lambda lam: relaxed.soft(lam, u, 0.7), (lam,), (direction,)
    )
    value, found = jax.jvp(lambda lam: relaxed.as_mean(lam, zeta), (lam,), (direction,))
    np.testing.assert_array_equal(value, zeta)
    np.testing.assert_allclose(found / 0.7, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "factory", [gumbel_softmax, st_gumbel_softmax, gumbel_rao], ids=lambda f: f.__name__
)
def test_the_temperature_falls_to_its_floor(factory):
    estimator = factory(temperature=1.0, annealing_rate=0.1, floor=0.5)
    objective = make_objective(
        MODELS["bernoulli"], elbo(), estimator, num_samples=2, allow_bias=True
    )
    params, state = objective.init(jax.random.key(0))
    batch = Batch(examples_of("bernoulli"), jnp.arange(2))
    seen = [float(state.estimator)]
    for step in range(9):
        _, (state, _) = objective.loss(params, state, jax.random.key(step), batch)
        seen.append(float(state.estimator))
    np.testing.assert_allclose(
        seen, np.maximum(0.5, np.exp(-0.1 * np.arange(10))), rtol=1e-5
    )


# What is refused.


@pytest.mark.parametrize(
    "estimator", [*BIASED, *UNBIASED[:2]], ids=lambda estimator: estimator.name
)
def test_latents_without_a_relaxation_are_refused(estimator):
    name = estimator.name
    with pytest.raises(
        IncompatibleError,
        match=rf"{name} relaxes z, but diagonal_normal latents have no continuous "
        "relaxation: use pathwise",
    ):
        make_objective(
            oracles.MODELS["linear_gaussian"], elbo(), estimator, num_samples=2
        )
    model = with_relaxation(None)
    with pytest.raises(IncompatibleError, match="relaxation: use score_function or rl"):
        make_objective(model, elbo(), estimator, num_samples=2)


def test_relax_reads_the_latents_shape_off_the_model():
    """Reading p(z) would fail: it may depend on a y that is not there yet."""
    model = oracles.MODELS["sigmoid_belief_network"]
    conditional = dataclasses.replace(model, prior=lambda params, y: y)
    objective = make_objective(conditional, elbo(), relax(), num_samples=2)
    params, state = objective.init(jax.random.key(0))
    examples = oracles.examples_of("sigmoid_belief_network")
    batch = Batch(examples._replace(y=jnp.zeros((2, 3))), jnp.arange(2))
    loss, _ = objective.loss(params, state, jax.random.key(1), batch)
    assert np.isfinite(loss)
    shapeless = dataclasses.replace(model, latent_shape=None)
    with pytest.raises(IncompatibleError, match="use a Model with latent_shape, or re"):
        make_objective(shapeless, elbo(), relax(), num_samples=2)


@pytest.mark.parametrize("estimator", BIASED, ids=lambda estimator: estimator.name)
def test_biased_relaxations_say_so(estimator):
    problem = Problem(model=MODELS["bernoulli"], bound=iwae(), num_samples=2)
    assert check(problem, estimator).status == "biased"
    with pytest.raises(
        IncompatibleError,
        match=rf"{estimator.name} is biased for iwae .* use rebar or relax, or accept",
    ):
        make_objective(problem.model, problem.bound, estimator, num_samples=2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gumbel_softmax(0.0), "temperature is 0.0: use a positive"),
        (lambda: rebar(temperature=-1.0), "temperature is -1.0: use a positive"),
        (
            lambda: gumbel_rao(temperature=math.inf),
            "temperature=inf must be a number from",
        ),
        (lambda: gumbel_softmax(0.5, floor=0.6), "floor of 0.6: use a floor above 0"),
        (lambda: st_gumbel_softmax(annealing_rate=-1.0), "annealing_rate is -1.0: use"),
        (lambda: gumbel_rao(0), "num_conditional=0 must be an integer from 1"),
        (lambda: rebar(eta=math.nan), "eta=nan must be a number from"),
        (lambda: relax(activation="no"), "unknown activation 'no': use one of"),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(VaejaxError, match=message):
        build()
