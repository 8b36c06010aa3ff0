"""A step that is not finite is not applied: the run stops or skips, with the cause."""

import dataclasses
import math
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.harness import metric_rows, run_folder
from experiments.training.choosing import selection_of
from experiments.training.config import Config
from experiments.training.loop import train_to_end
from experiments.training.run import Data, Run, make_keys
from vaejax.bounds import BOUNDS
from vaejax.core import Example, LossState, Objective, Params, Regularizer, VaejaxError
from vaejax.data import find
from vaejax.estimators import ESTIMATORS
from vaejax.families import NormalParams
from vaejax.models import linear_gaussian
from vaejax.objective import make_objective
from vaejax.sharding import training_mesh
from vaejax.trained import Recipe
from vaejax.training import (
    NonFiniteError,
    checkpoints,
    fit,
    init_state,
    make_step,
    run_steps,
    zero_totals,
)

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
BAD = 5  # the example that is


def linear_objective(regularizers=(), **changes):
    """The ELBO of the linear model, some of its functions changed."""
    model = dataclasses.replace(linear_gaussian((4,)), **changes)
    return make_objective(
        model,
        BOUNDS["elbo"](),
        ESTIMATORS["pathwise"](),
        num_samples=2,
        regularizers=regularizers,
    )


def take(step, state, data, indices):
    """The state after a step per row of indices."""
    indices = jnp.asarray(indices)
    totals = zero_totals(step, state, data, indices)
    return run_steps(step, state, totals, data, indices, 0, len(indices))


# What is stopped


class _Counted:
    """The linear model's ELBO, with the number of losses as the estimator's state."""

    def __init__(self):
        base = linear_objective()

        def loss(params, count, key, batch):
            value, (_, stats) = base.loss(params, LossState(), key, batch)
            return value, (count + 1, stats)

        def init(key):
            return base.init(key)[0], jnp.zeros((), jnp.int32)

        self.objective = Objective(init=init, loss=loss)


def poisoned(row, count=8):
    x = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    x[row] = np.nan
    return x


def test_a_step_that_is_not_finite_is_not_applied_nor_are_later_ones():
    objective, optimizer = _Counted().objective, optax.adam(1e-2)
    step = make_step(objective, optimizer)
    data = Example(jnp.asarray(poisoned(7)))

    def run(indices):
        state = init_state(objective, optimizer, KEY)
        return take(step, state, data, indices)[0]

    failed = run([[0, 1], [2, 3], [7, 4], [5, 6], [0, 1]])
    assert (failed.failed_step, failed.step, failed.loss_state) == (2, 2, 2)
    good = run([[0, 1], [2, 3]])
    chex.assert_trees_all_close(failed.params, good.params, rtol=1e-6)
    chex.assert_trees_all_close(failed.opt_state, good.opt_state, rtol=1e-6)


def test_a_gradient_that_is_not_finite_counts_though_the_loss_is():
    def loss(params, state, key, batch):
        return jnp.sqrt(params.decoder).sum(), (state, {})

    def init(key):
        return Params(encoder=(), decoder=jnp.zeros(3), prior=()), ()

    with pytest.raises(NonFiniteError, match="step 0") as caught:
        fit(
            Objective(init=init, loss=loss),
            optax.sgd(0.1),
            Example(jnp.zeros((4, 1))),
            epochs=1,
            batch_size=2,
            key=KEY,
        )
    assert np.array_equal(caught.value.state.params.decoder, np.zeros(3))


def test_fit_names_the_step_and_its_state_goes_on_once_the_cause_is_gone():
    objective, optimizer = _Counted().objective, optax.adam(1e-2)

    def train(x, **settings):
        return fit(objective, optimizer, Example(x), batch_size=2, key=KEY, **settings)

    with pytest.raises(NonFiniteError) as caught:
        train(poisoned(5), epochs=3)
    error = caught.value
    assert f"step {error.step}, " in str(error)
    assert "the observation of example 5." in str(error)
    assert error.step == error.state.step < 4
    chex.assert_tree_all_finite(error.state.params)

    mended = np.nan_to_num(poisoned(5))
    resumed = train(mended, epochs=3, state=error.state)
    assert (resumed.step, resumed.failed_step) == (12, -1)


# What is skipped


def test_skipping_leaves_parameters_optimizer_and_estimator_as_they_were():
    objective, optimizer = _Counted().objective, optax.adam(1e-2)
    data = Example(jnp.asarray(poisoned(BAD)))
    step = make_step(objective, optimizer, max_skipped=2)

    def run(indices, first_step=0):
        state = init_state(objective, optimizer, KEY)
        state = state._replace(step=jnp.int32(first_step))
        return take(step, state, data, indices)

    bad = [BAD, 0]
    skipped, totals = run([bad, bad, [1, 2], [3, 4]])
    expected, expected_totals = run([[1, 2], [3, 4]], first_step=2)
    assert (skipped.skipped, skipped.step, skipped.failed_step) == (2, 4, -1)
    chex.assert_trees_all_equal(
        *[(s.params, s.opt_state, s.loss_state) for s in (skipped, expected)]
    )
    chex.assert_trees_all_equal(totals, expected_totals)
    assert totals.steps == 2

    stopped, _ = run([bad, [1, 2], bad, bad, [3, 4]])
    assert (stopped.skipped, stopped.step, stopped.failed_step) == (2, 3, 3)


def test_a_gradient_alone_is_skipped_too():
    def loss(params, state, key, batch):
        bad = (batch.example.x == BAD).any()
        # Its value is 0, and its derivative NaN where the root's argument is 0.
        root = jnp.sqrt(jnp.where(bad, 0.0 * params.decoder, 1.0)).sum()
        return root + params.decoder.sum(), (state, {})

    def init(key):
        return Params(encoder=(), decoder=jnp.ones(3), prior=()), ()

    state = fit(
        Objective(init=init, loss=loss),
        optax.sgd(0.5),
        Example(jnp.arange(8.0)),
        epochs=1,
        batch_size=2,
        max_skipped=1,
        key=KEY,
    )
    assert (state.step, state.skipped) == (4, 1)
    assert np.array_equal(state.params.decoder, np.full(3, 1 - 3 * 0.5))


# What is named


def is_bad(x):
    """True for the observation with the mark, which is finite itself."""
    return x.reshape(-1)[0] > 100


def encode(params, example, then):
    """The linear encoder, changed for the marked example."""
    loc, log_scale = linear_gaussian((4,)).encode(params, example)
    return NormalParams(*then(params, is_bad(example.x), loc, log_scale))


def no_scale(params, bad, loc, log_scale):
    return loc, jnp.where(bad, -jnp.inf, log_scale)


def far_away(params, bad, loc, log_scale):
    return jnp.where(bad, 1e30, loc), log_scale


def without_gradient(params, bad, loc, log_scale):
    root = jnp.sqrt(jnp.where(bad, 0.0 * params.encoder["bias"].sum(), 1.0))
    return loc + root - jax.lax.stop_gradient(root), log_scale


def prior(params, y):
    return NormalParams(jnp.where(y, jnp.nan, jnp.zeros(2)), jnp.zeros(2))


def penalty_of(limit):
    """A batch-level term that is not finite for batches above a limit."""
    return Regularizer(
        name="odd",
        penalty=lambda model, params, key, batch: jnp.where(
            len(batch.global_index) > limit, jnp.nan, 0.0
        ),
        compares=False,  # so that micro-batches of it are taken, too
    )


@pytest.mark.parametrize(
    ("objective", "cause"),
    [
        (linear_objective(prior=prior), f"log p(z) of example {BAD}"),
        (
            linear_objective(encode=lambda p, e: encode(p, e, no_scale)),
            f"log q(z|x) of example {BAD}",
        ),
        (
            linear_objective(encode=lambda p, e: encode(p, e, far_away)),
            f"log p(x|z) of example {BAD}",
        ),
        (
            linear_objective(encode=lambda p, e: encode(p, e, without_gradient)),
            f"the gradient of the encoder of example {BAD}",
        ),
        (
            linear_objective(regularizers=[penalty_of(2)]),
            "odd of the whole batch, though of no example alone",
        ),
        (
            linear_objective(regularizers=[penalty_of(0)]),
            "odd of example 0, 1, 2, 3, 4, 5, 6, 7 and 1 more",
        ),
    ],
)
@pytest.mark.parametrize("micro_batch_size", [None, 3])
def test_the_first_term_that_is_not_finite_is_named(objective, cause, micro_batch_size):
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    x[BAD, 0] = 200.0
    with pytest.raises(NonFiniteError) as caught:
        fit(
            objective,
            optax.adam(1e-3),
            Example(x, np.arange(9) == BAD),
            epochs=1,
            batch_size=9,
            micro_batch_size=micro_batch_size,
            key=KEY,
        )
    assert f"at step 0, which was not applied: {cause}. Lower" in str(caught.value)


def test_parameters_that_a_step_left_are_named():
    def explode(learning_rate):
        return fit(
            linear_objective(),
            optax.sgd(learning_rate),
            Example(np.full((4, 4), 50.0, np.float32)),
            epochs=3,
            batch_size=4,
            key=KEY,
        )

    with pytest.raises(NonFiniteError, match=r"at step 1, .* since the step before"):
        explode(3e38)


# What a run does about it


def objective_with_a_bad_example() -> Objective:
    def loss(params, state, key, batch):
        value = jnp.square(batch.example.x.mean((1, 2, 3)) - params.decoder).mean()
        bad = (batch.example.x.max((1, 2, 3)) == 1.0).any()
        value = jnp.where(bad, jnp.nan, value)
        return value, (state + 1, {"bound": -value})

    def init(key):
        return Params(encoder=(), decoder=jnp.zeros(()), prior=()), jnp.zeros(())

    return Objective(init=init, loss=loss)


def train(out, **settings):
    images = np.full((22, 2, 2, 1), 100, np.uint8)
    images[13] = 255
    test = Example(jnp.asarray(images[:10] / 255.0, jnp.float32))
    settings = {"batch_size": 4} | settings
    config = Config(epochs=3, out=out, resume=True, **settings)
    with run_folder.open_run(out, config, overwrite=False, resume=True):
        return train_to_end(
            Run(
                config=config,
                recipe=Recipe(
                    model=config.model, data_shape=(2, 2, 1), protocol="none"
                ),
                dataset=find(config.dataset),
                model=SimpleNamespace(start=None),
                objective=objective_with_a_bad_example(),
                one_seed=objective_with_a_bad_example(),
                selection=selection_of(config),
                optimizer=optax.adam(1e-2),
                data=Data(Example(jnp.asarray(images)), test, None, "none"),
                mesh=training_mesh(config.batch_size),
                keys=make_keys(config),
            )
        )


def test_a_run_stops_at_the_last_good_state_and_goes_on_from_there_skipping(tmp_path):
    message = r"not finite at step (\d+), .*example 13\..*--on-nonfinite skip"
    with pytest.raises(VaejaxError, match=message):
        train(tmp_path / "run")
    stopped = checkpoints.latest(tmp_path / "run" / "checkpoints")
    state, figures = train(tmp_path / "run", on_nonfinite="skip")
    assert stopped < 6
    assert (state.step, state.skipped, figures["skipped"]) == (18, 3, 3)

    again, expected = train(tmp_path / "another", on_nonfinite="skip")
    chex.assert_trees_all_equal(state.params, again.params)
    rows = metric_rows.read_rows(tmp_path / "run")
    assert [row["skipped"] for row in rows] == [1, 2, 3]
    assert all(math.isfinite(row["train"]["bound"]) for row in rows)
    assert figures["bound"] == expected["bound"]


def test_a_run_skips_no_more_than_it_may(tmp_path):
    with pytest.raises(VaejaxError, match=r"not finite at step .*, after 2 skipped: "):
        train(tmp_path / "run", on_nonfinite="skip", max_skipped=2)


def test_an_epoch_of_nothing_but_skipped_steps_has_no_means(tmp_path):
    train(tmp_path / "run", on_nonfinite="skip", batch_size=22)
    rows = metric_rows.read_rows(tmp_path / "run")
    assert [row["train"] for row in rows] == [{"bound": None, "loss": None}] * 3
