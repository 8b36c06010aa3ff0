"""make_objective: what it refuses, what it adds up, what it lets a user bring along."""

import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from jax.lax import stop_gradient

from vaejax.bounds import BOUNDS, elbo, iwae, reconstruction
from vaejax.compatibility import check, check_with_remedy, compatibility_table
from vaejax.core import (
    Batch,
    Estimator,
    Example,
    IncompatibleError,
    LossState,
    Problem,
    Regularizer,
    VaejaxError,
    Verdict,
)
from vaejax.estimators import ESTIMATORS, dreg, nvil, pathwise, score_function, stl
from vaejax.evaluation import log_likelihood
from vaejax.kl_weights import linear
from vaejax.models import gaussian_mlp, sigmoid_belief_network
from vaejax.objective import make_objective
from vaejax.regularizers import REGULARIZERS, mmd
from vaejax.regularizers.mmd import squared_mmd
from vaejax.terms import bound_value, log_terms, make_stats, sample_posterior
from vaejax.training import fit

pytestmark = pytest.mark.slow

MODEL = gaussian_mlp(data_shape=(3,), latent_dim=2, hidden=(4,))
BINARY = sigmoid_belief_network(data_shape=(3,), latent_dim=2)
X = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
BATCH = Batch(Example(X), jnp.arange(4))
ROOT = Path(__file__).parents[2]


def gradient(objective, params, state, key):
    return jax.jit(jax.grad(objective.loss, has_aux=True))(params, state, key, BATCH)


# What is refused.


@pytest.mark.parametrize("num_samples", [0, -1, True, False])
@pytest.mark.parametrize("bound", BOUNDS)
def test_num_samples_must_be_positive(bound, num_samples):
    with pytest.raises(
        IncompatibleError, match=f"num_samples is {num_samples!r}: give an integer"
    ):
        make_objective(MODEL, BOUNDS[bound](), pathwise(), num_samples=num_samples)


def test_num_samples_must_be_an_integer():
    """A process of its own is needed: here the checker of types would refuse first."""
    script = """
import vaejax

for wrong in (2.5, 2.0, "2", None):
    try:
        vaejax.make_objective(
            vaejax.MODELS["sigmoid_belief_network"](),
            vaejax.BOUNDS["elbo"](),
            vaejax.ESTIMATORS["score_function"](),
            num_samples=wrong,
        )
    except vaejax.IncompatibleError as error:
        assert f"num_samples is {wrong!r}" in str(error), error
        assert "give an integer from 1" in str(error), error
    else:
        raise AssertionError(f"{wrong!r} was accepted")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_biased_pair_needs_allow_bias():
    with pytest.raises(IncompatibleError, match=r"stl is biased for iwae with K = 2.*"):
        make_objective(MODEL, iwae(), stl(), num_samples=2)
    make_objective(MODEL, iwae(), stl(), num_samples=2, allow_bias=True)
    make_objective(MODEL, iwae(), stl(), num_samples=1)  # the ELBO: nothing to allow


@pytest.mark.parametrize("bound", BOUNDS)
def test_every_estimator_that_a_refusal_names_is_unbiased(bound):
    for model in (*oracles.MODELS.values(), AUTOENCODER):
        problem = Problem(model=model, bound=BOUNDS[bound](), num_samples=6)
        for name, factory in ESTIMATORS.items():
            verdict = check_with_remedy(problem, factory())
            own = check(problem, factory())
            assert verdict.status == own.status
            assert bool(verdict.reason.partition(":")[0]) == bool(own.reason)
            named = set(re.findall(r"\w+", verdict.reason.rpartition(": use ")[2]))
            for other in named & ESTIMATORS.keys():
                status = check(problem, ESTIMATORS[other]()).status
                assert status == "unbiased", (model.name, name, verdict.reason)


def test_the_remedy_of_a_refusal_is_not_refused():
    bits = oracles.MODELS["sigmoid_belief_network"]
    with pytest.raises(IncompatibleError, match=r"use vimco or score_function$"):
        make_objective(bits, iwae(), dreg(), num_samples=4)
    with pytest.raises(IncompatibleError, match=r"use the bound reconstruction"):
        make_objective(AUTOENCODER, elbo(), dreg(), num_samples=1)


def test_allow_bias_allows_no_refused_pair():
    with pytest.raises(IncompatibleError, match="pathwise refuses elbo on sigmoid"):
        make_objective(BINARY, elbo(), pathwise(), num_samples=1, allow_bias=True)


def test_a_bound_that_needs_what_the_model_lacks_is_refused_for_every_estimator():
    wants_more = BOUNDS["elbo_analytic_kl"]()
    assert wants_more.needs(MODEL, 2) is None
    no_kl = dataclasses.replace(MODEL, posterior=BINARY.posterior)
    for factory in ESTIMATORS.values():
        with pytest.raises(IncompatibleError, match="use the bound 'elbo'"):
            make_objective(no_kl, wants_more, factory(), num_samples=2)


# What it adds up.


def constant(name: str, value: float) -> Regularizer:
    return Regularizer(name=name, penalty=lambda *_: jnp.asarray(value))


def test_regularizers_add_up_to_the_loss_and_to_the_metrics():
    plain = make_objective(MODEL, elbo(), pathwise(), num_samples=2)
    terms = (constant("one", 1.25), mmd(3.0), constant("two", -0.5))
    objective = make_objective(
        MODEL, elbo(), pathwise(), num_samples=2, regularizers=terms
    )
    params, state = objective.init(jax.random.key(0))
    key = jax.random.key(1)
    bare, (_, bare_metrics) = jax.jit(plain.loss)(params, state, key, BATCH)
    loss, (_, metrics) = jax.jit(objective.loss)(params, state, key, BATCH)

    assert (metrics["one"], metrics["two"]) == (1.25, -0.5)
    np.testing.assert_allclose(loss - bare, 0.75 + metrics["mmd"], rtol=1e-5)
    np.testing.assert_allclose(bare, -bare_metrics["bound"], rtol=1e-6)
    # The same noise, so the same bound: a penalty is no part of it.
    chex.assert_trees_all_close({k: metrics[k] for k in bare_metrics}, bare_metrics)


def test_two_terms_of_one_kind_draw_different_noise():
    def penalty(model, params, key, batch):
        return jax.random.normal(key)

    noise = Regularizer(name="noise", penalty=penalty)
    other = Regularizer(name="other", penalty=penalty)
    objective = make_objective(
        MODEL, elbo(), pathwise(), num_samples=1, regularizers=[noise, other]
    )
    _, (_, metrics) = jax.jit(objective.loss)(
        *objective.init(jax.random.key(0)), jax.random.key(1), BATCH
    )
    assert metrics["noise"] != metrics["other"]


def test_an_example_keeps_its_noise_wherever_it_stands():
    objective = make_objective(MODEL, iwae(), pathwise(), num_samples=3)
    params, state = objective.init(jax.random.key(0))
    order = jnp.array([2, 0, 3, 1])
    moved = Batch(Example(X[order]), order)
    key, loss = jax.random.key(1), jax.jit(objective.loss)
    np.testing.assert_allclose(
        loss(params, state, key, BATCH)[0],
        loss(params, state, key, moved)[0],
        rtol=1e-6,
    )


# What a user brings along.

DECAY = 0.9


def with_moving_baseline(baseline=lambda state: state["baseline"]) -> Estimator:
    """REINFORCE less a moving average of the bound and a learned offset."""

    def init(problem, key):
        return {"offset": jnp.full((), 0.1)}, {"baseline": jnp.full((), -1.0)}

    def update(problem, state, stats):
        old = state["baseline"]
        return {"baseline": DECAY * old + (1 - DECAY) * stats["bound"]}

    def surrogate(problem, params, state, key, example):
        dist_params, z = sample_posterior(problem, params, key, example)
        z = stop_gradient(z)
        terms = log_terms(problem.model, params, dist_params, z, example)
        value = bound_value(problem, params, dist_params, example, terms)
        left = stop_gradient(value) - baseline(state) - params.auxiliary["offset"]
        score = stop_gradient(left) * terms.log_qz.sum()
        regression = -0.5 * left**2  # ascended: the offset learns what is left
        steered = value + score + regression
        return stop_gradient(value) + steered - stop_gradient(steered), make_stats(
            value, terms
        )

    return Estimator(
        name="moving_baseline",
        surrogate=surrogate,
        check=lambda problem: Verdict("unbiased", "the baseline is from the past"),
        init=init,
        update=update,
    )


def test_an_estimators_own_parameters_and_state_are_the_objectives():
    objective = make_objective(BINARY, elbo(), with_moving_baseline(), num_samples=1)
    params, state = objective.init(jax.random.key(0))
    assert params.auxiliary == {"offset": pytest.approx(0.1)}
    assert state.estimator == {"baseline": -1.0}
    without = make_objective(BINARY, elbo(), score_function(), num_samples=1)
    assert without.init(jax.random.key(0))[0].auxiliary == ()


def test_a_state_is_updated_after_it_was_used():
    objective = make_objective(BINARY, elbo(), with_moving_baseline(), num_samples=1)
    params, state = objective.init(jax.random.key(0))
    state = state._replace(estimator={"baseline": jnp.asarray(-2.5)})
    key = jax.random.key(1)
    seen, (after, metrics) = gradient(objective, params, state, key)
    np.testing.assert_allclose(
        after.estimator["baseline"],
        DECAY * -2.5 + (1 - DECAY) * metrics["bound"],
        rtol=1e-6,
    )

    def with_constant(baseline):
        fixed = with_moving_baseline(lambda _: baseline)
        fixed = make_objective(BINARY, elbo(), fixed, num_samples=1)
        return gradient(fixed, params, state, key)[0]

    chex.assert_trees_all_close(seen, with_constant(-2.5), rtol=1e-5)
    # The comparison sees which baseline was used.
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(
            seen, with_constant(after.estimator["baseline"]), rtol=1e-5
        )


def test_a_users_estimator_is_trained_by_fit_unchanged():
    objective = make_objective(BINARY, elbo(), with_moving_baseline(), num_samples=1)
    bounds = []
    state = fit(
        objective,
        optax.sgd(0.1),
        Example(X),
        epochs=4,
        batch_size=4,  # one step an epoch, whose metrics are that step's
        key=jax.random.key(0),
        on_epoch=lambda report: bounds.append(report.metrics["bound"]),
    )
    expected = -1.0
    for bound in bounds:
        expected = DECAY * expected + (1 - DECAY) * bound
    np.testing.assert_allclose(
        state.loss_state.estimator["baseline"], expected, rtol=1e-5
    )
    assert abs(state.params.auxiliary["offset"] - 0.1) > 0.01  # learned too
    assert state.step == 4


# What fits together.


def test_the_table_has_a_row_per_model_and_estimator_and_a_column_per_bound():
    table = compatibility_table([MODEL, BINARY], [elbo(), iwae()], [stl(), pathwise()])
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()]
    assert rows == [
        ["latents", "estimator", "elbo", "iwae"],
        ["---"] * 4,
        ["diagonal_normal", "stl", "unbiased", "biased"],
        ["diagonal_normal", "pathwise", "unbiased", "unbiased"],
        ["bernoulli", "stl", "refused", "refused"],
        ["bernoulli", "pathwise", "refused", "refused"],
    ]


def test_the_table_takes_iterators():
    lists = compatibility_table([MODEL, BINARY], [elbo(), iwae()], [stl()])
    iterators = compatibility_table(
        iter([MODEL, BINARY]), iter([elbo(), iwae()]), iter([stl()])
    )
    assert iterators == lists


def test_the_table_in_the_docs_is_current():
    current = compatibility_table(
        models=[gaussian_mlp(), sigmoid_belief_network(latent_dim=10)],
        bounds=[factory() for factory in BOUNDS.values()],
        estimators=[factory() for factory in ESTIMATORS.values()],
        num_samples=6,  # two groups of three: at K = 2 MIWAE is the ELBO
    )
    copies = re.findall(
        "<!-- compatibility -->(.*?)<!-- /compatibility -->",
        (ROOT / "docs" / "compatibility.md").read_text(),
        re.DOTALL,
    )
    assert [copy.strip() for copy in copies] == [current], (
        "the table is stale: run 'python docs/site_build.py'"
    )


# The maximum mean discrepancy.


def brute_force_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """The U-statistic, one pair of indices at a time."""
    n, dim = a.shape

    def kernel(p, q):
        return 2.0 * dim / (2.0 * dim + ((p - q) ** 2).sum())

    total = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total += (
                    kernel(a[i], a[j]) + kernel(b[i], b[j]) - 2 * kernel(a[i], b[j])
                )
    return total / (n * (n - 1))


@pytest.mark.parametrize(("n", "dim"), [(2, 1), (5, 3), (12, 7)])
def test_squared_mmd_is_the_sum_over_pairs(n, dim):
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=(n, dim)), 0.5 + 2 * rng.normal(size=(n, dim))
    value = squared_mmd(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    np.testing.assert_allclose(value, brute_force_mmd(a, b), rtol=1e-4, atol=1e-6)


REPEATS, PER_REPEAT = 4000, 6


def z_of_mmd(statistic, shift: float) -> float:
    """The mean statistic of normal samples and shifted ones, in standard errors."""
    a_key, b_key = jax.random.split(jax.random.key(0))
    a = jax.random.normal(a_key, (REPEATS, PER_REPEAT, 2))
    b = shift + jax.random.normal(b_key, (REPEATS, PER_REPEAT, 2))
    values = np.asarray(jax.jit(jax.vmap(statistic))(a, b), float)
    return values.mean() / (values.std() / np.sqrt(REPEATS))


def test_squared_mmd_is_unbiased_where_the_distributions_agree():
    assert abs(z_of_mmd(squared_mmd, shift=0.0)) < 4


def test_squared_mmd_is_positive_where_they_differ():
    assert z_of_mmd(squared_mmd, shift=0.5) > 20


def test_the_v_statistic_would_be_found_biased():
    def with_the_diagonal(a, b):
        n = a.shape[0]
        unbiased = squared_mmd(a, b) * (n * (n - 1))
        distance = jnp.square(a - b).sum(-1)
        diagonal = 2 - 2 * 4 / (4 + distance)  # k(a_i, a_i) = k(b_i, b_i) = 1
        return (unbiased + diagonal.sum()) / n**2

    assert z_of_mmd(with_the_diagonal, shift=0.0) > 20


def test_mmd_weighs_and_reaches_the_encoder():
    params = MODEL.init(jax.random.key(0))
    key = jax.random.key(1)

    def of_weight(weight):
        penalty = mmd(weight).penalty
        return jax.jit(jax.value_and_grad(lambda p: penalty(MODEL, p, key, BATCH)))

    one, slope = of_weight(1.0)(params)
    np.testing.assert_allclose(of_weight(10.0)(params)[0], 10 * one, rtol=1e-6)
    assert optax.tree.norm(slope.encoder) > 0
    assert optax.tree.norm(slope.decoder) == 0


@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_regularizer_builds_and_refuses_a_negative_weight(name):
    assert REGULARIZERS[name]().name == name
    scale = next(iter(inspect.signature(REGULARIZERS[name]).parameters))
    with pytest.raises(VaejaxError, match="use at least 0"):
        REGULARIZERS[name](**{scale: -1.0})


def test_mmd_refuses_latents_without_a_path_to_the_encoder():
    with pytest.raises(
        IncompatibleError, match=r"mmd refuses .*reparameteris.*: leave"
    ):
        make_objective(
            BINARY, elbo(), score_function(), num_samples=1, regularizers=[mmd()]
        )


def test_a_regularizer_is_used_once():
    """A second regularizer of the name would replace the figures of the first."""
    with pytest.raises(
        IncompatibleError, match=r"mmd .* more than once .*: use each regularizer once"
    ):
        make_objective(
            MODEL, elbo(), pathwise(), num_samples=1, regularizers=[mmd(2.0), mmd(0.0)]
        )


def test_mmd_refuses_a_batch_of_one():
    objective = make_objective(
        MODEL, elbo(), pathwise(), num_samples=1, regularizers=[mmd()]
    )
    alone = Batch(Example(X[:1]), jnp.arange(1))
    with pytest.raises(VaejaxError, match="at least 2"):
        objective.loss(*objective.init(jax.random.key(0)), jax.random.key(1), alone)


# Regularizers that learn.


def mean_follower(name: str) -> Regularizer:
    """Learns the mean of x by a parameter of its own, which it must find."""

    def penalty(model, params, key, batch):
        return jnp.square(params.auxiliary - batch.example.x.mean(0)).sum()

    return Regularizer(
        name=name,
        penalty=penalty,
        init=lambda model, key: jax.random.normal(key, model.data_shape),
    )


def test_regularizers_and_the_estimator_each_find_their_own_parameters():
    regularizers = [mmd(weight=0.0), mean_follower("one"), mean_follower("other")]
    settings = {"num_samples": 2, "regularizers": regularizers}
    estimators = nvil(), pathwise()
    for model, estimator in zip((BINARY, MODEL), estimators, strict=True):
        own = settings | ({"regularizers": regularizers[1:]} if model is BINARY else {})
        objective = make_objective(model, elbo(), estimator, **own)
        params, state = objective.init(jax.random.key(0))
        start = jax.tree.map(jnp.array, params.auxiliary)
        found, (_, metrics) = gradient(objective, params, state, jax.random.key(1))
        mean = X.mean(0)
        ours = found.auxiliary.regularizers[-2:]
        for term, own_start in zip(ours, start.regularizers[-2:], strict=True):
            np.testing.assert_allclose(term, 2 * (own_start - mean), rtol=1e-5)
        assert (start.regularizers[-1] != start.regularizers[-2]).any()
        assert {"one", "other", "bound"} <= metrics.keys()
        alone = make_objective(model, elbo(), estimator, num_samples=2)
        plain = params._replace(auxiliary=start.estimator)
        expected, _ = gradient(alone, plain, state, jax.random.key(1))
        chex.assert_trees_all_close(found.auxiliary.estimator, expected.auxiliary)
        chex.assert_trees_all_close(found.decoder, expected.decoder, rtol=1e-5)


# Autoencoders: posteriors without a density.

AUTOENCODER = gaussian_mlp(
    data_shape=(3,),
    latent_dim=2,
    hidden=(4,),
    posterior="point_mass",
    likelihood="fixed_normal",
    likelihood_settings={"scale": 1.0},
)


def test_the_gradient_of_an_autoencoder_is_that_of_its_squared_error():
    objective = make_objective(AUTOENCODER, reconstruction(), pathwise(), num_samples=1)
    params, state = objective.init(jax.random.key(0))
    found, (_, metrics) = gradient(objective, params, state, jax.random.key(1))

    def half_squared_error(params):
        def one(x):
            z = AUTOENCODER.encode(params, Example(x))
            return jnp.square(AUTOENCODER.decode(params, z, None) - x).sum() / 2

        return jax.vmap(one)(X).mean()

    chex.assert_trees_all_close(found, jax.grad(half_squared_error)(params), rtol=1e-5)
    assert "bound" in metrics
    assert not {"elbo", "kl", "log_pz", "log_qz", "beta"} & metrics.keys()


@pytest.mark.parametrize(
    ("bound", "estimator", "message"),
    [
        ("elbo", "pathwise", "point_mass has no density: use the bound reconstruction"),
        ("iwae", "pathwise", "point_mass has no density"),
        ("reconstruction", "score_function", "no density.*use pathwise"),
        ("reconstruction", "dreg", "use pathwise"),
    ],
)
def test_what_takes_a_density_is_refused_where_there_is_none(bound, estimator, message):
    with pytest.raises(IncompatibleError, match=message):
        make_objective(
            AUTOENCODER, BOUNDS[bound](), ESTIMATORS[estimator](), num_samples=1
        )


def test_there_is_no_log_likelihood_without_a_density():
    params = AUTOENCODER.init(jax.random.key(0))
    with pytest.raises(VaejaxError, match="no importance weights"):
        log_likelihood(AUTOENCODER, params, Example(X), jax.random.key(0))


def test_a_kl_weight_needs_a_kl():
    with pytest.raises(IncompatibleError, match="reconstruction has none: "):
        make_objective(
            MODEL, reconstruction(), pathwise(), num_samples=1, kl_weight=linear()
        )


# Densities over different spaces.


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        ("diagonal_normal", "uniform_sphere"),
        ("diagonal_normal", "learned_bernoulli"),
        ("diagonal_normal", "learned_categorical"),
        ("von_mises_fisher", "standard_normal"),
        ("bernoulli", "standard_normal"),
        ("categorical", "learned_bernoulli"),
        ("dirichlet", "standard_normal"),
        ("poisson", "standard_normal"),
    ],
)
def test_a_prior_over_another_space_is_refused(posterior, prior):
    """No ratio exists: pixels of 0 and 1 would get log-likelihoods above 0."""
    model = gaussian_mlp(
        data_shape=(3,), latent_dim=4, hidden=(4,), posterior=posterior, prior=prior
    )
    for estimator in (pathwise(), score_function()):
        with pytest.raises(IncompatibleError, match="use "):
            make_objective(model, elbo(), estimator, num_samples=1)
    verdict = check(Problem(model=model, bound=elbo(), num_samples=1), score_function())
    assert "use a prior and a posterior over the same space" in verdict.reason


def test_an_interval_lies_within_the_reals():
    model = gaussian_mlp(
        data_shape=(3,), latent_dim=2, hidden=(4,), posterior="truncated_normal"
    )
    assert check(Problem(model=model, bound=elbo(), num_samples=1), pathwise()).status
    make_objective(model, elbo(), pathwise(), num_samples=1)


def test_a_prior_made_of_iafs_is_refused_for_every_estimator():
    model = gaussian_mlp(
        data_shape=(3,), latent_dim=2, hidden=(4,), posterior="iaf", prior="vamp"
    )
    with pytest.raises(IncompatibleError, match=r"given z is costly.*pay_for_inverse"):
        make_objective(model, elbo(), pathwise(), num_samples=1)


@pytest.mark.parametrize("name", ["free_bits", "capacity"])
@pytest.mark.parametrize(
    ("bound", "num_samples", "kl_weight"),
    [("elbo", 1, linear()), ("beta_elbo", 1, None), ("iwae", 2, None)],
)
def test_free_bits_are_refused_where_the_kl_is_not_held_once(
    name, bound, num_samples, kl_weight
):
    settings = {"num_samples": num_samples, "kl_weight": kl_weight}
    regularizers = [REGULARIZERS[name]()]
    with pytest.raises(IncompatibleError, match=r"holds once.*use the bound elbo"):
        make_objective(
            MODEL, BOUNDS[bound](), pathwise(), regularizers=regularizers, **settings
        )
    make_objective(MODEL, iwae(), pathwise(), num_samples=1, regularizers=regularizers)


def test_the_bound_of_several_samples_is_logged_at_weight_1_too():
    objective, plain = (
        make_objective(MODEL, iwae(), dreg(), num_samples=3, kl_weight=weight)
        for weight in (linear(start=0.2), None)
    )
    params, state = objective.init(jax.random.key(0))
    key = jax.random.key(1)
    _, (_, metrics) = objective.loss(params, state, key, BATCH)
    _, (_, expected) = plain.loss(params, LossState(), key, BATCH)
    untempered = float(metrics["untempered_bound"])
    assert untempered == pytest.approx(float(expected["bound"]), rel=1e-6)
    assert metrics["bound"] > untempered
    assert "untempered_bound" not in expected
