"""Initial parameters from the data, for models that start training so."""

import operator
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaejax.core import Batch, Example, Key, Objective
from vaejax.training.state import TrainState
from vaejax.training.step import observe_batch

# Step s draws from fold_in(key, s). The order of the data, and the observations that
# are checked or used before the first step, draw from steps that are never taken.
NO_STEP = 2**31 - 1

AT_ONCE = 2**24  # the most numbers that are observed at once


def started(
    objective: Objective,
    state: TrainState,
    data: Example,
    observe: Callable[[Key, Array], Array] | None = None,
) -> TrainState:
    """Return the state with the objective's initial parameters for these data.

    `fit` calls this function if no state is given. The objective receives one
    observation of every example, drawn by a key that no step uses.

    Args:
        objective: its `start` makes the parameters; the state stays where it has none.
        state: from `init_state`, perhaps with another run's parameters.
        data: as for `fit`.
        observe: as for `make_step`.
    """
    if objective.start is None:
        return state
    key = jax.random.fold_in(state.key, NO_STEP - 2)
    observe_key, start_key = jax.random.split(key)
    parts = [part for _, part in observed(observe, observe_key, data)]
    examples = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    params, loss_state = objective.start(
        state.params, state.loss_state, examples, start_key
    )
    return state._replace(params=params, loss_state=loss_state)


def observed(
    observe: Callable[[Key, Array], Array] | None, key: Key, data: Example
) -> Iterator[tuple[int, Example]]:
    """Yield one observation of every example, in parts, each with its first row."""
    count = len(data.x)
    size = min(count, max(1, AT_ONCE // max(1, data.x[0].size)))
    for first in range(0, count, size):
        # The last part begins earlier and is cut, so that one program serves all.
        begin = min(first, count - size)
        rows = operator.itemgetter(slice(begin, begin + size))
        batch = Batch(jax.tree.map(rows, data), begin + jnp.arange(size))
        example = _observe(observe, key, batch).example
        yield (
            first,
            jax.tree.map(operator.itemgetter(slice(first - begin, None)), example),
        )


_observe = jax.jit(observe_batch, static_argnums=0)
