"""Statements about float64: run by test_x64.py under JAX_ENABLE_X64=1, not by name.

The whole contract would take half an hour more. What may break in float64 breaks by a
dtype that does not follow the others, in an estimator, a bound or a loop around them,
so that it is enough to see each of them once: every bound on one of the two models that
the contract holds everything against, every estimator on one of the bounds.
"""

import itertools

import jax
import jax.numpy as jnp
import known_weights
import numpy as np
import optax
import oracles
import pytest
from tiny_run import tiny

from experiments import train
from tests.estimators import test_contract as contract
from tests.evaluation.test_log_likelihood import MODEL, near_posterior, observations
from vaejax.bounds import BOUNDS, elbo, iwae
from vaejax.core import Batch, Example
from vaejax.data import PROTOCOLS
from vaejax.estimators import ESTIMATORS, dreg, nvil
from vaejax.evaluation import log_likelihood
from vaejax.kl_weights import kl_at_most
from vaejax.models import MODELS, gaussian_conv, sigmoid_belief_network
from vaejax.models.linear_gaussian import exact_log_px
from vaejax.objective import make_objective
from vaejax.training import checkpoints, fit, init_state, make_step

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1), dtype=np.uint8)


def floats_of(tree):
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(tree)}
    return {str(dtype) for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)}


def data_of(leaf):
    keys = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if keys else leaf


def walk():
    """A cell of the contract for every bound, and the estimators to be seen on it."""
    cells: dict[tuple[str, str, int], list[str]] = {}
    for model, bound in zip(itertools.cycle(oracles.CORE), BOUNDS):
        group = [group for group in contract.GROUPS if group[:2] == (model, bound)][-1]
        cells[group] = []

    def accepts(group, name):
        return contract.verdict(*group, name).status != "refused"

    for name in ESTIMATORS:
        groups = [group for group in cells if accepts(group, name)]
        if groups:  # `stratified` has none in the whole contract
            min((cells[group] for group in groups), key=len).append(name)
    return cells


@pytest.mark.parametrize(("group", "names"), walk().items())
def test_every_estimator_and_every_bound_keeps_its_verdict(group, names):
    assert names
    contract.hold(
        *group,
        {name: contract.build(*group, name, allow_bias=True) for name in names},
    )


def test_log_p_is_exact_to_the_last_digits_of_float64():
    params, x = near_posterior(1.0), jnp.asarray(observations(3), float)
    found = log_likelihood(MODEL, params, Example(x), KEY, num_samples=100)
    exact = jax.vmap(lambda one: exact_log_px(params, one))(x)
    np.testing.assert_allclose(found.log_px, exact, rtol=1e-12)
    assert found.monte_carlo_error.max() < 1e-12
    assert found.log_px.dtype == np.float64
    result = known_weights.estimate(50)
    for name, figures in known_weights.expected(50).items():
        np.testing.assert_allclose(
            getattr(result, name), figures, rtol=1e-9, atol=1e-13
        )


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_of_float64(name):
    model = MODELS[name]()
    y = None if model.labels.num_classes is None else jnp.asarray(1)

    def everything():
        params = model.init(KEY)
        dist_params = model.encode(params, Example(jnp.ones(model.data_shape), y))
        z = model.posterior.sample(KEY, dist_params)
        likelihood_params = model.decode(params, z, y)
        x = model.likelihood.sample(KEY, likelihood_params)
        log_px_z = model.likelihood.log_prob(likelihood_params, x)
        log_pz = model.latent_prior.log_prob(model.prior(params, y), z)
        return params, dist_params, z, likelihood_params, x, log_px_z, log_pz

    assert floats_of(jax.eval_shape(everything)) == {"float64"}


def test_a_run_goes_on_bit_for_bit_with_every_kind_of_state(tmp_path):
    objective = make_objective(
        sigmoid_belief_network((4, 4, 1), latent_dim=3),
        elbo(),
        nvil(),
        num_samples=2,
        kl_weight=kl_at_most(2.0),
    )
    optimizer = optax.adam(1e-2)

    def train_small(state=None, on_epoch=None):
        return fit(
            objective,
            optimizer,
            Example(IMAGES),
            epochs=2,
            batch_size=4,
            key=KEY,
            observe=PROTOCOLS["dynamic"].sample,
            micro_batch_size=2,
            state=state,
            on_epoch=on_epoch,
        )

    reports = []

    def keep(report):
        reports.append(report.metrics)
        if report.epoch == 1:
            checkpoints.save(tmp_path, report.state, {})

    whole = train_small(on_epoch=keep)
    state, _ = checkpoints.restore(tmp_path, init_state(objective, optimizer, KEY))
    resumed = train_small(state=state)
    assert floats_of((whole.params, whole.opt_state, whole.loss_state)) == {"float64"}
    for one, other in zip(*map(jax.tree.leaves, (whole, resumed)), strict=True):
        np.testing.assert_array_equal(*map(data_of, (one, other)))
    assert np.isfinite(list(reports[-1].values())).all()


def dtypes_after_a_step(objective, params, x):
    """The dtypes of the state, before and after; nothing is computed."""
    optimizer = optax.adam(1e-2)
    state = jax.eval_shape(lambda: init_state(objective, optimizer, KEY))
    state = state._replace(
        params=params, opt_state=jax.eval_shape(optimizer.init, params)
    )
    batch = Batch(Example(x), jax.ShapeDtypeStruct(x.shape[:1], int))
    step = make_step(objective, optimizer, micro_batch_size=1)
    after, _ = jax.eval_shape(step, state, batch)
    return [[leaf.dtype for leaf in jax.tree.leaves(tree)] for tree in (state, after)]


def in_float32(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, "float32"), tree)


@pytest.mark.parametrize(("group", "names"), walk().items())
def test_every_estimator_trains_float32_parameters_beside_float64(group, names):
    x = jax.eval_shape(lambda: oracles.examples_of(group[0]).x)
    for name in names:
        objective = contract.build(*group, name, allow_bias=True)
        params = in_float32(jax.eval_shape(lambda o=objective: o.init(KEY)[0]))
        before, after = dtypes_after_a_step(objective, params, in_float32(x))
        assert before == after, name


def test_convolutions_train_on_float32_beside_float64():
    model = gaussian_conv((4, 4, 1), latent_dim=2, channels=(3,))
    objective = make_objective(model, iwae(), dreg(), num_samples=2)
    params = jax.eval_shape(lambda: objective.init(KEY)[0])
    x = jax.ShapeDtypeStruct((2, 4, 4, 1), float)
    for given in ((in_float32(params), x), (params, in_float32(x))):
        before, after = dtypes_after_a_step(objective, *given)
        assert before == after


def test_a_whole_run_says_that_it_is_of_float64(tmp_path):
    found = train.run(tiny(tmp_path / "run"))
    assert found.summary["versions"]["precision"] == "float64"
    assert floats_of(found.params) == {"float64"}
    assert np.isfinite(found.summary["test"]["log_likelihood"])
