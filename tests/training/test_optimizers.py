"""Optimizers by name, their schedules, averages, and several seeds of each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest

from vaejax.core import Params, VaejaxError, build
from vaejax.training import of_seed
from vaejax.training.averaging import averaged, evaluated_params
from vaejax.training.optimizers import OF_WHOLE_ARRAYS, OPTIMIZERS, SCHEDULE_FREE
from vaejax.training.schedules import SCHEDULES, Pace
from vaejax.training.seeds import each_seed

RATE = optax.constant_schedule(0.05)
SEEDS = 3


def start(key: jax.Array) -> Params:
    matrix, vector = jax.random.split(key)
    return Params(
        encoder=jax.random.normal(matrix, (4, 3)),
        decoder=jax.random.normal(vector, (5,)),
        prior=(),
    )


def steps(optimizer, params: Params, count: int, scale=1.0) -> tuple:
    """Parameters and states after every step down a parabola, the last ones last."""
    state, found = optimizer.init(params), []
    for _ in range(count):
        slope = jax.tree.map(lambda leaf: 2 * scale * leaf, params)
        change, state = optimizer.update(slope, state, params)
        params = optax.apply_updates(params, change)
        found.append(params)
    return found, state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_down_a_parabola(name):
    optimizer = build(OPTIMIZERS, name, (), {"learning_rate": RATE})
    before = start(jax.random.key(0))
    found, state = steps(optimizer, before, 30)
    after = evaluated_params(state, found[-1])
    assert np.square(oracles.flat(after)).sum() < np.square(oracles.flat(before)).sum()


@pytest.mark.parametrize(
    ("name", "words", "twin"),
    [
        ("adam", ("b1=0.5", "eps=1e-4"), optax.adam(RATE, b1=0.5, eps=1e-4)),
        ("adamw", ("weight_decay=0.1",), optax.adamw(RATE, weight_decay=0.1)),
        ("sgd", ("momentum=0.9",), optax.sgd(RATE, momentum=0.9)),
        ("sgd", (), optax.sgd(RATE)),
        ("rmsprop", ("decay=0.5",), optax.rmsprop(RATE, decay=0.5)),
        ("lion", ("b2=0.5",), optax.lion(RATE, b2=0.5)),
        ("adamax", (), optax.adamax(RATE)),
        ("muon", ("beta=0.5",), optax.contrib.muon(RATE, beta=0.5)),
    ],
)
def test_the_settings_of_an_optimizer_are_those_of_optax(name, words, twin):
    own = build(OPTIMIZERS, name, words, {"learning_rate": RATE})
    params = start(jax.random.key(1))
    ours, theirs = (steps(one, params, 5)[0][-1] for one in (own, twin))
    np.testing.assert_array_equal(oracles.flat(ours), oracles.flat(theirs))
    if words:
        usual = build(OPTIMIZERS, name, (), {"learning_rate": RATE})
        other = steps(usual, params, 5)[0][-1]
        assert np.abs(oracles.flat(ours) - oracles.flat(other)).max() > 1e-6


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("adam", ("b1=1",), "adam's setting b1=1 must be a number from 0 to 0.9999999"),
        ("adam", ("momentum=0.5",), "'adam' has no setting 'momentum'"),
        ("lion", ("weight_decay=-1",), "must be a number from 0 to"),
        ("adam", ("learning_rate=1",), "learning_rate of adam follow"),
    ],
)
def test_a_setting_that_an_optimizer_cannot_have_is_refused(name, words, message):
    with pytest.raises(VaejaxError, match=message):
        build(OPTIMIZERS, name, words, {"learning_rate": RATE})


COUPLED = {
    "clip": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(RATE)),
    **{n: build(OPTIMIZERS, n, (), {"learning_rate": RATE}) for n in OF_WHOLE_ARRAYS},
}


@pytest.mark.parametrize("name", COUPLED)
def test_each_seed_is_optimized_as_it_would_be_alone(name):
    """Seeds differ in scale, which a norm over all of them would mix."""
    optimizer = COUPLED[name]
    params = jax.vmap(start)(jax.random.split(jax.random.key(0), SEEDS))
    scales = jnp.array([1.0, 3.0, 9.0])
    params = jax.tree.map(
        lambda leaf: leaf * scales.reshape(-1, *[1] * (leaf.ndim - 1)), params
    )
    together = steps(each_seed(optimizer, SEEDS), params, 4)[0][-1]
    mixed = steps(optimizer, params, 4)[0][-1]
    apart = []
    for seed in range(SEEDS):
        alone = oracles.flat(steps(optimizer, of_seed(params, seed), 4)[0][-1])
        found = oracles.flat(of_seed(together, seed))
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)
        apart.append(np.abs(oracles.flat(of_seed(mixed, seed)) - alone).max())
    assert max(apart) > 1e-3  # without `each_seed` they are not alone


def test_an_average_is_that_of_the_parameters_after_every_step():
    decay = 0.9
    params = start(jax.random.key(2))
    plain, _ = steps(optax.adam(RATE), params, 8)
    found, state = steps(averaged(optax.adam(RATE), decay), params, 8)
    np.testing.assert_array_equal(oracles.flat(found[-1]), oracles.flat(plain[-1]))
    weights = decay ** np.arange(7, -1, -1)
    expected = np.average([oracles.flat(one) for one in plain], axis=0, weights=weights)
    average = oracles.flat(evaluated_params(state, found[-1]))
    np.testing.assert_allclose(average, expected, rtol=1e-5)
    assert np.abs(average - oracles.flat(found[-1])).max() > 1e-2
    new = averaged(optax.adam(RATE), decay).init(params)
    assert evaluated_params(new, params) is params


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_schedule_free_steps_are_evaluated_at_optaxs_average(name):
    optimizer = build(OPTIMIZERS, name, (), {"learning_rate": RATE})
    params = start(jax.random.key(3))
    found, state = steps(optax.chain(optax.identity(), optimizer), params, 5)
    expected = optax.contrib.schedule_free_eval_params(state[1], found[-1])
    average = oracles.flat(evaluated_params(state, found[-1]))
    np.testing.assert_array_equal(average, oracles.flat(expected))
    assert np.abs(average - oracles.flat(found[-1])).max() > 1e-3


def test_the_piecewise_schedule_is_the_one_of_the_paper():
    """3^i epochs at 0.001 10^(-i/7), i = 0..7 (Burda et al. 2016, section 5)."""
    epoch_steps = 2
    found = build(SCHEDULES, "piecewise", (), {"pace": Pace(1e-3, 9999, epoch_steps)})
    expected = np.repeat(
        1e-3 * 10 ** (-np.arange(8) / 7), 3 ** np.arange(8) * epoch_steps
    )
    assert len(expected) == 3280 * epoch_steps
    rates = np.asarray(jax.vmap(found)(jnp.arange(len(expected))))
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("constant", (), [1, 1, 1]),
        ("cosine", (), [1, 0.5, 0]),
        ("warmup", ("epochs=4",), [0, 1, 1]),
        ("warmup", ("epochs=8",), [0, 0.5, 1]),
        ("warmup_cosine", ("epochs=4",), [0, 1, 0]),
        ("exponential", ("end=0.04",), [1, 0.2, 0.04]),
    ],
)
def test_a_schedule_starts_and_ends_as_it_says(name, words, expected):
    """At the first step, in the middle and at the end of 8 epochs of 5 steps."""
    schedule = build(SCHEDULES, name, words, {"pace": Pace(0.5, 40, 5)})
    rates = [float(schedule(step)) / 0.5 for step in (0, 20, 40)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-6)


def test_a_warm_up_that_takes_the_whole_run_is_refused():
    with pytest.raises(VaejaxError, match="epochs=8 takes all of the run's 8 epochs"):
        build(SCHEDULES, "warmup_cosine", ("epochs=8",), {"pace": Pace(0.5, 40, 5)})
