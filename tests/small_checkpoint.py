"""A checkpoint of a few numbers, for tests of how checkpoints are read."""

from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from vaejax.core import Objective, Params
from vaejax.training import TrainState, checkpoints, init_state


def saved_state(folder: Path) -> TrainState:
    """A state of a few numbers, and a checkpoint of it."""

    def init(key):
        return Params(encoder=(), decoder=jnp.ones(3), prior=()), ()

    objective = Objective(init=init, loss=lambda *_: None)
    state = init_state(objective, optax.adam(1.0), jax.random.key(0))
    checkpoints.save(folder, state, {"rows": []})
    return state
