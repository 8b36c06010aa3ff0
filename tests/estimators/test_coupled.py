"""Coupled and enumerating estimators: measure-valued, ARM, DisARM, sums over outcomes.

The toy is one binary latent with a quadratic cost, E (b - t)^2, on which the variances
of ARM, DisARM and leave-one-out REINFORCE are known in closed form.
"""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.special
import scipy.stats
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp
from scipy.stats import norm

from experiments.training.config import Config
from experiments.training.run import check
from vaejax.benchmark import gradient_moments
from vaejax.bounds import beta_elbo, elbo, elbo_analytic_kl, iwae
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Example,
    IncompatibleError,
    LossState,
    Model,
    Params,
    Prior,
    Problem,
    VaejaxError,
    Verdict,
)
from vaejax.estimators import (
    arm,
    disarm,
    enumeration,
    measure_valued,
    rloo,
    unordered_set,
)
from vaejax.estimators.unordered_set import ratios
from vaejax.exact import value_and_gradient
from vaejax.families import (
    GammaParams,
    NormalParams,
    bernoulli,
    categorical,
    diagonal_normal,
    gamma,
    poisson,
)
from vaejax.models import bernoulli_toy, sigmoid_belief_network
from vaejax.models.assembly import from_networks
from vaejax.nets import mlp
from vaejax.objective import make_objective
from vaejax.terms import bound_value, enter, exchange, log_terms, make_stats, with_value

pytestmark = pytest.mark.slow

DRAWS = 40_000


def z_scores(
    name: str, bound: Bound, num_samples: int, estimators: list[Estimator]
) -> list[np.ndarray]:
    """One row of |z| for each estimator: the value, then every coordinate."""
    objectives = [
        make_objective(oracles.MODELS[name], bound, e, num_samples=num_samples)
        for e in estimators
    ]
    truth = oracles.exact(name, bound, num_samples)
    return [
        oracles.z_scores(drawn, truth)
        for drawn in oracles.draw(name, objectives, DRAWS)
    ]


def threshold(tests: int) -> float:
    """The |z| = 4.5 of one two-sided test, by Bonferroni over `tests`."""
    return norm.isf(norm.sf(4.5) / tests)


@pytest.mark.parametrize("name", oracles.CORE)
def test_the_closed_form_of_the_divergence_is_kept(name):
    if name == "sigmoid_belief_network":
        valid = [measure_valued(), disarm(), enumeration(), unordered_set()]
    else:
        valid = [measure_valued()]
    for z in z_scores(name, elbo_analytic_kl(), 2, valid):
        assert z.max() < threshold(400)


# Estimators that are wrong.


def _mirrored(halve: bool = True, direct: bool = True) -> Estimator:
    """DisARM by hand, with its mistakes."""

    def surrogate(problem, params, state, key, example):
        model, bound = problem.model, problem.bound
        logits = model.encode(params, example)
        keys = jax.random.split(key, problem.num_samples)
        antithetic = model.posterior.couplings.antithetic
        b, mirrored = jax.vmap(antithetic, (0, None))(keys, logits)
        closed = stop_gradient((params, logits))
        terms, others = (log_terms(model, *closed, z, example) for z in (b, mirrored))
        log_w = bound.log_weight(terms)
        differences = exchange(bound, log_w, log_w, bound.log_weight(others))
        largest = jax.nn.sigmoid(jnp.abs(logits)) if halve else jnp.ones_like(logits)
        gradient = (differences @ (b - mirrored)) * largest / 2
        seen = logits if direct else closed[1]
        open_terms = log_terms(model, params, seen, b, example)
        value = bound_value(problem, params, logits, example, open_terms)
        return with_value(value + enter(gradient, logits), value), make_stats(
            value, terms
        )

    return Estimator(
        name="mirrored", surrogate=surrogate, check=lambda _: Verdict("unbiased", "")
    )


def _with_measure(model: Model, measure) -> Model:
    couplings = dataclasses.replace(model.posterior.couplings, measure=measure)
    posterior = dataclasses.replace(model.posterior, couplings=couplings)
    return dataclasses.replace(model, posterior=posterior)


def test_disarm_without_its_parts_is_rejected():
    name = "sigmoid_belief_network"
    right, unweighted, closed = z_scores(
        name,
        iwae(),
        2,
        [_mirrored(), _mirrored(halve=False), _mirrored(direct=False)],
    )
    assert right.max() < threshold(100)
    assert unweighted[1:].max() > 20
    assert closed[1:].max() > 20


def test_a_wrong_measure_is_rejected(monkeypatch):
    """The negative part of the scale's derivative is the normal, not its mode."""
    name = "linear_gaussian"
    model = oracles.MODELS[name]

    def at_the_mode(key, params):
        measure = diagonal_normal().couplings.measure(key, params)
        negative = measure.negative._replace(log_scale=params.loc)
        return measure._replace(negative=negative)

    wrong = _with_measure(model, at_the_mode)
    monkeypatch.setitem(oracles.MODELS, name, wrong)
    for z in z_scores(name, iwae(), 2, [measure_valued()]):
        assert z[0] < threshold(100)
        assert z[1:].max() > 20


def test_equal_weights_on_an_unordered_set_are_rejected(monkeypatch):
    """They are right for samples with replacement only."""
    module = importlib.import_module("vaejax.estimators.unordered_set")

    def equal(log_q, log_rest):
        size = log_q.shape[0]
        return jnp.full(size, 1 / size), jnp.full((size, size), 1 / size)

    monkeypatch.setattr(module, "ratios", equal)
    (z,) = z_scores("sigmoid_belief_network", elbo(), 4, [unordered_set()])
    assert z[0] > 20


# What is known of the toy.


def toy_variance(
    estimator: Estimator, t: float, logits: list[float], num_samples: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the gradient of the loss in every logit."""
    objective = make_objective(
        bernoulli_toy((len(logits),)),
        beta_elbo(0.0),
        estimator,
        num_samples=num_samples,
    )
    params = Params(encoder={"logits": jnp.array(logits)}, decoder=(), prior=())
    batch = Batch(Example(jnp.full((1, len(logits)), t)), jnp.arange(1))
    moments = gradient_moments(
        objective, params, LossState(), jax.random.key(0), batch, draws=DRAWS
    )
    mean, variance = moments.mean.encoder, moments.variance.encoder
    return mean["logits"], variance["logits"]


@pytest.mark.parametrize("t", [0.499, 0.45])
@pytest.mark.parametrize("logit", [0.0, 0.7, -2.0])
def test_the_variances_of_one_binary_latent_are_the_closed_forms(t, logit):
    """With m = min(p, 1 - p), M = 1 - m and D = f(1) - f(0):

    ARM     D^2 ((1 - (1 - 2m)^3) / 12 - m^2 M^2)
    DisARM  D^2 (m M^2 / 2 - m^2 M^2)
    RLOO    D^2 (m M / 2 - m^2 M^2), from two independent samples

    Each takes two evaluations.
    """
    p = 1 / (1 + np.exp(-logit))
    m, big = min(p, 1 - p), max(p, 1 - p)
    difference = 1 - 2 * t
    known = {
        "arm": (1 - (1 - 2 * m) ** 3) / 12 - (m * big) ** 2,
        "disarm": m * big**2 / 2 - (m * big) ** 2,
        "rloo": m * big / 2 - (m * big) ** 2,
    }
    for estimator, num_samples in ((arm(), 1), (disarm(), 1), (rloo(), 2)):
        mean, variance = toy_variance(estimator, t, [logit], num_samples)
        truth = difference**2 * known[estimator.name]
        np.testing.assert_allclose(
            mean, difference * p * (1 - p), atol=5 * np.sqrt(truth / DRAWS) + 1e-6
        )
        np.testing.assert_allclose(
            variance,
            truth,
            rtol=0.05,
            atol=1e-4 * difference**2,
            err_msg=estimator.name,
        )
    assert known["disarm"] <= known["arm"] <= known["rloo"]


@pytest.mark.parametrize("t", [0.499, 0.45])
def test_disarm_beats_rloo_which_beats_arm_where_there_are_many_latents(t):
    """ARM pays for the noise of every latent whose two outcomes are the same."""
    logits = list(np.linspace(-3.0, 3.0, 12))
    variances = [
        toy_variance(estimator, t, logits, num_samples)[1].sum()
        for estimator, num_samples in ((disarm(), 1), (rloo(), 2), (arm(), 1))
    ]
    assert variances[0] <= variances[1]
    assert 1.5 * variances[1] < variances[2]


@pytest.mark.parametrize("t", [0.499, 0.45])
@pytest.mark.parametrize(
    ("estimator", "num_samples"),
    [
        (enumeration(), 1),
        (enumeration(), 3),
        (unordered_set(), 2),
        (measure_valued(), 1),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_nothing_is_left_to_chance_where_every_outcome_is_used(
    t, estimator, num_samples
):
    mean, variance = toy_variance(estimator, t, [0.7], num_samples)
    p = 1 / (1 + np.exp(-0.7))
    np.testing.assert_allclose(mean, (1 - 2 * t) * p * (1 - p), rtol=1e-4)
    assert variance < 1e-12


def test_disarm_is_zero_where_a_sample_is_its_own_mirror_image():
    logits = jnp.linspace(-3.0, 3.0, 12)
    model = bernoulli_toy((12,))
    problem = Problem(model=model, bound=beta_elbo(0.0), num_samples=1)
    params = Params(encoder={"logits": logits}, decoder=(), prior=())
    example = Example(jnp.full(12, 0.45))

    def gradient(estimator, key):
        def scalar(params):
            return estimator.surrogate(problem, params, (), key, example)[0]

        return jax.grad(scalar)(params).encoder["logits"]

    keys = jax.random.split(jax.random.key(0), 200)
    of_disarm, of_arm = (
        jax.jit(jax.vmap(lambda key, e=e: gradient(e, key)))(keys)
        for e in (disarm(), arm())
    )

    def pair(key):
        return model.posterior.couplings.antithetic(jax.random.split(key, 1)[0], logits)

    b, mirrored = jax.vmap(pair)(keys)
    assert 0.2 < (b == mirrored).mean() < 0.9
    assert np.all(of_disarm[b == mirrored] == 0)
    assert np.mean(of_arm[b == mirrored] != 0) > 0.8  # else b and b~ cost the same


def test_enumeration_and_measures_agree_on_one_sample():
    """Local expectations of a factorised binary posterior are its measures."""
    name = "sigmoid_belief_network"
    model, params = oracles.MODELS[name], oracles.params_of(name)
    problem = Problem(model=model, bound=iwae(), num_samples=1)
    truth = value_and_gradient(problem, params, oracles.examples_of(name))
    objective = make_objective(model, iwae(), enumeration(), num_samples=1)
    (value, _), gradient = jax.value_and_grad(objective.loss, has_aux=True)(
        params, LossState(), jax.random.key(0), oracles.batch_of(name)
    )
    np.testing.assert_allclose(-value, truth.value, rtol=1e-5)
    np.testing.assert_allclose(
        -oracles.flat(gradient), oracles.flat(truth.gradient), rtol=1e-4, atol=1e-5
    )


def test_summing_out_the_samples_leaves_less_variance():
    name = "sigmoid_belief_network"
    objectives = [
        make_objective(oracles.MODELS[name], iwae(), e, num_samples=4)
        for e in (enumeration(), disarm())
    ]
    summed, drawn = oracles.draw(name, objectives, DRAWS)
    assert summed.stderr[0] < 0.8 * drawn.stderr[0]
    assert np.linalg.norm(summed.stderr[1:]) < 0.8 * np.linalg.norm(drawn.stderr[1:])


# The unordered set's ratios.


def brute_force(q: np.ndarray, drawn: list[int]) -> float:
    """P(the set is drawn without replacement from q), over all orders."""
    if not drawn:
        return 1.0
    total = 0.0
    for s in drawn:
        rest = q.copy()
        rest[s] = 0.0
        others = [t for t in drawn if t != s]
        total += q[s] / q.sum() * brute_force(rest, others)
    return total


def test_the_ratios_are_those_of_all_orders():
    q = np.array([0.3, 0.05, 0.15, 0.4, 0.1])
    drawn = [0, 2, 4]

    def without(*left_out):
        rest = q.copy()
        rest[list(left_out)] = 0.0
        return brute_force(rest, [s for s in drawn if s not in left_out])

    first, both = ratios(jnp.log(q[drawn]), jnp.log(q[1] + q[3]))
    for i, s in enumerate(drawn):
        np.testing.assert_allclose(first[i], q[s] * without(s) / without(), rtol=1e-5)
        for j, t in enumerate(drawn):
            expected = q[t] if s == t else q[t] * without(s, t) / without(s)
            np.testing.assert_allclose(both[i, j], expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
@pytest.mark.parametrize("size", [2, 5, 10])
def test_the_weights_of_a_set_sum_to_one_at_any_odds(size, scale):
    logits = scale * jax.random.normal(jax.random.key(size), (size + 4,))
    log_q = jax.nn.log_softmax(logits)
    for chosen in (jnp.arange(size), jnp.arange(4, size + 4)):
        others = log_q.at[chosen].set(-jnp.inf)
        first, both = jax.jit(ratios)(log_q[chosen], logsumexp(others))
        np.testing.assert_allclose(first.sum(), 1.0, rtol=1e-3)
        np.testing.assert_allclose(both.sum(1), 1.0, rtol=1e-3)


def test_a_set_of_all_outcomes_has_nothing_left_over():
    q = jnp.array([0.2, 0.5, 0.3])
    first, both = ratios(jnp.log(q), jnp.array(-jnp.inf))
    np.testing.assert_allclose(first, q, rtol=1e-5)
    np.testing.assert_allclose(both, jnp.broadcast_to(q, (3, 3)), rtol=1e-5)


# Other latents.


def test_categorical_latents_are_summed_over():
    """Two variables of three categories: nine outcomes."""
    family = categorical(3)
    model = from_networks(
        "mixture_model",
        encoder=mlp(3, (), 6),
        decoder=mlp(6, (), 3),
        prior=Prior(
            name="uniform",
            family=family,
            init=lambda key: (),
            apply=lambda encode, params, y: jnp.zeros((2, 3)),
        ),
        posterior=family,
        likelihood=bernoulli(),
        data_shape=(3,),
        latent_dim=2,
    )
    flat_decode = model.decode
    model = dataclasses.replace(
        model, decode=lambda params, z, y: flat_decode(params, z.reshape(-1), y)
    )
    params = model.init(jax.random.key(2))
    examples = Example(jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
    batch = Batch(examples, jnp.arange(2))
    for bound, estimator in (
        (elbo(), enumeration()),
        (iwae(), enumeration()),
        (elbo(), unordered_set()),
    ):
        problem = Problem(model=model, bound=bound, num_samples=3)
        truth = value_and_gradient(problem, params, examples)
        objective = make_objective(model, bound, estimator, num_samples=3)
        moments = gradient_moments(
            objective, params, LossState(), jax.random.key(0), batch, draws=DRAWS
        )
        drawn = oracles.Drawn(
            -oracles.flat(moments.mean),
            np.sqrt(oracles.flat(moments.variance) / DRAWS),
        )
        z = oracles.z_scores(drawn, oracles.flat(truth.gradient))
        assert z.max() < threshold(3 * z.size), (bound.name, estimator.name, z)


MEASURED = {
    "bernoulli": (bernoulli(), jnp.array([-1.5, 0.2])),
    "diagonal_normal": (
        diagonal_normal(),
        NormalParams(jnp.array([0.3, -1.2]), jnp.array([-0.7, 0.4])),
    ),
    "poisson": (poisson(), jnp.log(jnp.array([0.6, 3.5]))),
    "gamma": (
        gamma(),
        GammaParams(jnp.log(jnp.array([0.3, 4.0])), jnp.log(jnp.array([0.8, 2.5]))),
    ),
}


@pytest.mark.parametrize("name", MEASURED)
def test_measures_are_derivatives(name):
    """The gradient of E[sin(1.3 z + 0.2) + z^2 / 4], coordinate by coordinate."""
    family, params = MEASURED[name]
    values = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)

    def f(z):
        return np.sin(1.3 * z + 0.2) + z**2 / 4

    grid = np.linspace(-12, 12, 40_001)
    counts = np.arange(200)
    if name == "diagonal_normal":
        scale = np.exp(values.log_scale)
        noise = (grid * norm.pdf(grid), (grid**2 - 1) * norm.pdf(grid))
        at = f(values.loc[:, None] + scale[:, None] * grid)
        truth = [
            (at @ noise[0]) * (grid[1] - grid[0]) / scale,
            (at @ noise[1]) * (grid[1] - grid[0]),
        ]
    elif name == "poisson":
        rate = np.exp(values)[:, None]
        mass = np.exp(
            counts * np.log(rate)
            - rate
            - np.cumsum(np.log(np.maximum(counts, 1)))[None]
        )
        truth = [((counts - rate) * mass) @ f(counts)]
    elif name == "gamma":
        a, r = (np.exp(leaf)[:, None] for leaf in values)
        log_z = np.linspace(-60, 6, 40_001)
        z = np.exp(log_z)
        mass = scipy.stats.gamma.pdf(z, a, scale=1 / r) * z * (log_z[1] - log_z[0])
        slopes = a * (log_z + np.log(r) - scipy.special.digamma(a)), a - r * z
        truth = [(slope * mass) @ f(z) for slope in slopes]
    else:
        p = 1 / (1 + np.exp(-values))
        truth = [p * (1 - p) * (f(1.0) - f(0.0))]

    keys = jax.random.split(jax.random.key(0), DRAWS)
    measure = jax.jit(jax.vmap(family.couplings.measure, (0, None)))(keys, params)
    fields = (jax.tree.leaves(field) for field in measure)
    for expected, constant, positive, negative in zip(truth, *fields, strict=True):
        constant, positive, negative = (
            np.asarray(leaf, float) for leaf in (constant, positive, negative)
        )
        each = constant * (f(positive) - f(negative))
        stderr = each.std(0) / np.sqrt(DRAWS) + 1e-6
        assert np.max(np.abs(each.mean(0) - expected) / stderr) < 4.5


def test_an_antithetic_pair_begins_with_the_sample():
    logits = jnp.linspace(-3.0, 3.0, 50)
    for seed in range(20):
        key = jax.random.key(seed)
        drawn, mirrored = bernoulli().couplings.antithetic(key, logits)
        np.testing.assert_array_equal(drawn, bernoulli().sample(key, logits))
        assert not np.any((drawn == 0) & (mirrored == 0) & (logits > 0))


# Refusals.


@pytest.mark.parametrize(
    ("estimator", "name", "bound", "num_samples", "message"),
    [
        (disarm(), "linear_gaussian", elbo(), 1, "mirror image.*use pathwise or dreg"),
        (arm(), "linear_gaussian", elbo(), 1, "mirror image.*use pathwise or dreg"),
        (enumeration(), "linear_gaussian", elbo(), 1, "cannot be listed: use pathwise"),
        (unordered_set(), "linear_gaussian", elbo(), 2, "be listed: use pathwise"),
        (
            unordered_set(),
            "sigmoid_belief_network",
            iwae(),
            2,
            "iwae is not a mean over samples: use enumeration",
        ),
        (
            unordered_set(),
            "sigmoid_belief_network",
            elbo(),
            1,
            "K = 1 there are none: use num_samples >= 2",
        ),
        (
            unordered_set(),
            "sigmoid_belief_network",
            elbo(),
            11,
            r"all 2\^11 subsets: use num_samples of at most 10",
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_refusals_name_the_remedy(estimator, name, bound, num_samples, message):
    with pytest.raises(IncompatibleError, match=message):
        make_objective(oracles.MODELS[name], bound, estimator, num_samples=num_samples)


def test_measure_valued_refuses_families_without_measures():
    model = _with_measure(oracles.MODELS["linear_gaussian"], None)
    with pytest.raises(IncompatibleError, match="no such parts: use pathwise or dreg"):
        make_objective(model, elbo(), measure_valued(), num_samples=1)


@pytest.mark.parametrize(
    ("estimator", "num_samples", "message"),
    [
        (enumeration(max_outcomes=4), 2, "more than max_outcomes = 4: use a smaller"),
        (unordered_set(max_outcomes=4), 2, "more than max_outcomes = 4: use a smaller"),
        (unordered_set(), 9, "K = 9 different outcomes, and there are only 8: use a"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_too_many_outcomes_or_too_few_are_refused(estimator, num_samples, message):
    model = oracles.MODELS["sigmoid_belief_network"]
    with pytest.raises(IncompatibleError, match=message):
        make_objective(model, elbo(), estimator, num_samples=num_samples)
    shapeless = dataclasses.replace(model, latent_shape=None)
    with pytest.raises(IncompatibleError, match="use a Model with latent_shape"):
        make_objective(shapeless, elbo(), estimator, num_samples=2)


@pytest.mark.parametrize("factory", [enumeration, unordered_set])
@pytest.mark.parametrize("max_outcomes", [0, 10**30])
def test_a_limit_of_outcomes_that_cannot_be_is_refused(factory, max_outcomes):
    with pytest.raises(VaejaxError, match="must be an integer from 1 to 16,777,"):
        factory(max_outcomes)


@pytest.mark.parametrize("estimator", ["enumeration", "unordered_set"])
def test_the_limit_of_outcomes_is_a_setting_of_the_command_line(estimator):
    """2^13 outcomes are refused by default, and taken where the limit allows them."""
    config = Config(
        dataset="digits",
        model="sigmoid_belief_network",
        model_settings=("latent_dim=13",),
        bound="elbo",
        num_samples=2,
        estimator=estimator,
    )
    with pytest.raises(IncompatibleError, match="a larger max_outcomes"):
        check(config)
    settings = ("max_outcomes=8192",)
    assert check(dataclasses.replace(config, estimator_settings=settings))


def test_two_hundred_binary_latents_are_refused_without_listing_them():
    with pytest.raises(IncompatibleError, match="more than max_outcomes = 1,024"):
        make_objective(sigmoid_belief_network(), elbo(), enumeration(), num_samples=2)
    assert bernoulli().outcomes.count(jnp.zeros(200)) == 2**200
    assert categorical(3).outcomes.count(jnp.zeros((4, 3))) == 81
