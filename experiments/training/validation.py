"""The training objective on examples that training does not see, after an epoch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.training.run import Run
from vaejax.core import Batch, Example, Key, Params
from vaejax.data import PROTOCOLS
from vaejax.training import TrainState

DECODINGS = 5000  # at once, or those of one example if they are more
NOISE = 2**31  # of the key of the noise; no step has this number
Metrics = dict[str, Float[np.ndarray, " seeds"]]


def validation_metrics(run: Run) -> Callable[[TrainState], Metrics]:
    """Make the function of the metrics on the validation split.

    The noise is the same after every epoch, so that only the model changes. Equal parts
    of the split are taken in turn, which leave out fewer examples than there are parts.
    """
    examples = run.data.validation
    assert examples is not None
    metrics = _metrics(run)
    count = len(examples.x)
    num_parts = -(-count // _limit(run))
    size = count // num_parts
    parts = [
        jax.tree.map(lambda leaf, i=i: leaf[i * size : (i + 1) * size], examples)
        for i in range(num_parts)
    ]

    def evaluate(state: TrainState) -> Metrics:
        found = [
            metrics(state, jax.random.fold_in(state.key, NOISE), i * size, part)
            for i, part in enumerate(parts)
        ]
        return jax.tree.map(lambda *values: np.mean(values, axis=0), *found)

    return evaluate


def training_metrics(run: Run) -> Callable[[TrainState], Metrics]:
    """Make the function of the metrics on the first training examples, drawn once.

    After the last step of an epoch they show whether the parameters have exploded.
    """
    protocol = PROTOCOLS[run.data.protocol]
    examples = jax.tree.map(lambda leaf: leaf[: _limit(run)], run.data.train)
    keys = jax.random.split(jax.random.key(NOISE - 1), len(examples.x))
    examples = examples._replace(x=jax.vmap(protocol.sample)(keys, examples.x))
    metrics = _metrics(run)
    return lambda state: metrics(
        state, jax.random.fold_in(state.key, NOISE), 0, examples
    )


def objective_on_test(run: Run, state: TrainState) -> dict[str, float]:
    """The metrics of the training objective on the first test examples, over seeds."""
    examples = jax.tree.map(lambda leaf: leaf[: _limit(run)], run.data.test)
    # The step itself uses children 0 and 1 of its key.
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), 2)
    return means(_metrics(run)(state, key, 0, examples))


def means(metrics: Metrics) -> dict[str, float]:
    """The mean of every metric over the seeds."""
    return {name: float(value.mean()) for name, value in metrics.items()}


def _limit(run: Run) -> int:
    return max(1, DECODINGS // run.config.num_samples)


def _metrics(run: Run) -> Callable[[TrainState, Key, int, Example], Metrics]:
    """Make the function of every seed's metrics on examples, numbered from a first."""
    num_seeds = run.config.num_seeds

    @jax.jit
    def of_seeds(
        params: Params, loss_state: Any, key: Key, first: int, examples: Example
    ) -> dict:
        batch = Batch(examples, first + jnp.arange(len(examples.x)))
        loss = run.one_seed.loss
        if num_seeds > 1:
            keys = jax.random.split(key, num_seeds)
            over_seeds = jax.vmap(loss, (0, 0, 0, None))
            losses, (_, stats) = over_seeds(params, loss_state, keys, batch)
            return {"loss": losses, **stats}
        value, (_, stats) = loss(params, loss_state, key, batch)
        return jax.tree.map(jnp.atleast_1d, {"loss": value, **stats})

    def evaluate(state: TrainState, key: Key, first: int, examples: Example) -> Metrics:
        found = of_seeds(state.params, state.loss_state, key, first, examples)
        return {name: np.asarray(values) for name, values in found.items()}

    return evaluate
