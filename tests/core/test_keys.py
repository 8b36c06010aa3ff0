"""No key is consumed twice: a run's streams of random numbers never meet."""

import itertools

import jax
import numpy as np

from experiments.benchmark.measured_model import make_keys
from experiments.training import run
from experiments.training.config import Config
from vaejax.training.start import NO_STEP


def identity(key: jax.Array) -> tuple[int, ...]:
    return tuple(int(word) for word in np.ravel(jax.random.key_data(key)))


def test_split_and_fold_in_meet() -> None:
    """Child i of `split` is `fold_in(key, i)`, which is why streams need care."""
    key = jax.random.key(0)
    assert identity(jax.random.split(key)[1]) == identity(jax.random.fold_in(key, 1))


def test_the_streams_of_a_run_are_distinct() -> None:
    """Initialization, order of the data, start, steps, test bounds, evaluation."""
    keys = run.make_keys(Config(seed=3))
    init_key, run_key = jax.random.split(keys.train)  # as init_state does
    steps = [jax.random.fold_in(run_key, step) for step in range(50)]
    children = itertools.chain.from_iterable(jax.random.split(key, 3) for key in steps)
    shuffle = jax.random.fold_in(run_key, NO_STEP)
    start = jax.random.split(jax.random.fold_in(run_key, NO_STEP - 2))
    examples = [jax.random.fold_in(keys.evaluate, n) for n in range(50)]
    watched = jax.random.split(keys.watch, 50)
    consumed = [init_key, shuffle, *start, *children, *examples, *watched]
    assert len({identity(key) for key in consumed}) == len(consumed)


def test_the_streams_of_a_comparison_are_distinct() -> None:
    keys = make_keys(3)
    drawn = keys.comparison
    draws = [
        jax.random.fold_in(key, i)
        for key in (drawn.draws, drawn.reference)
        for i in range(50)
    ]
    consumed = [keys.params, *jax.random.split(keys.examples, 4), drawn.state, *draws]
    assert len({identity(key) for key in consumed}) == len(consumed)
