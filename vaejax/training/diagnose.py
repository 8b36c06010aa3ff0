"""Diagnosis of a step that was not applied: the parts of its loss that are not finite.

The step is computed again with the same keys, one example at a time. The parts of an
example's loss are checked in the order in which they depend on each other, and the
first part that is not finite is named.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from vaejax.core import Batch, Example, Key, Objective, Params, PyTree
from vaejax.training.state import TrainState
from vaejax.training.step import gather, observe_batch, step_keys

# The log-terms of a log-weight among the stats that estimators report.
TERMS = {"log_px_z": "log p(x|z)", "log_pz": "log p(z)", "log_qz": "log q(z|x)"}
SHOWN = 8  # the most examples that a message names


class _Finite(NamedTuple):
    """Flags of the finite parts of a loss, in the order of their dependence."""

    observation: Bool[Array, ""]
    stats: dict[str, Bool[Array, ""]]
    loss: Bool[Array, ""]
    gradient: dict[str, Bool[Array, ""]]  # by parameter group


def diagnose(
    objective: Objective,
    state: TrainState,
    data: Example,
    chosen: Int[Array, " B"],
    observe: Callable[[Key, Array], Array] | None = None,
) -> str:
    """Name the parts of the next step that are not finite, and their examples.

    Args:
        objective: what the step minimises.
        state: before the step.
        data: the data set, every leaf [N, ...].
        chosen: the step's examples, as numbers of rows of `data`.
        observe: as for `make_step`.

    Returns:
        Such as "log p(x|z) of example 17; the gradient of the encoder of example 3".
    """
    for group, leaves in state.params._asdict().items():
        if not _is_finite(leaves):
            return f"the {group}'s parameters, since the step before"
    observe_key, loss_key = step_keys(state)
    batch = observe_batch(observe, observe_key, gather(data, chosen))
    check = partial(_check, objective, state.params, state.loss_state, loss_key)

    def check_alone(one: Batch) -> _Finite:
        # The example is doubled: a batch-level term compares at least two examples.
        return check(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), one))

    found = jax.device_get(jax.jit(partial(jax.lax.map, check_alone))(batch))
    causes: dict[str, set[int]] = {}
    for i, example in enumerate(np.asarray(chosen).tolist()):
        cause = _first(jax.tree.map(lambda flags, i=i: flags[i], found))
        if cause is not None:
            causes.setdefault(cause, set()).add(example)
    if causes:
        return "; ".join(
            f"{cause} of example {_listed(examples)}"
            for cause, examples in causes.items()
        )
    cause = _first(jax.device_get(jax.jit(check)(batch)))
    return f"{cause or 'the sum'} of the whole batch, though of no example alone"


def _check(
    objective: Objective, params: Params, loss_state: PyTree, key: Key, batch: Batch
) -> _Finite:
    value_and_grad = jax.value_and_grad(objective.loss, has_aux=True)
    (loss, (_, stats)), gradient = value_and_grad(params, loss_state, key, batch)
    return _Finite(
        observation=_is_finite(batch.example),
        stats={name: _is_finite(value) for name, value in stats.items()},
        loss=_is_finite(loss),
        gradient={
            group: _is_finite(leaves) for group, leaves in gradient._asdict().items()
        },
    )


def _is_finite(tree: PyTree) -> Bool[Array, ""]:
    leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all() if leaves else jnp.asarray(True)


def _first(finite: _Finite) -> str | None:
    """The first part that is not finite, in words, or None."""
    names = TERMS | {name: name for name in sorted(finite.stats.keys() - TERMS.keys())}
    parts = [("the observation", finite.observation)]
    parts += [(names[n], finite.stats[n]) for n in names if n in finite.stats]
    parts += [("the loss", finite.loss)]
    parts += [(f"the gradient of the {g}", flag) for g, flag in finite.gradient.items()]
    return next((name for name, flag in parts if not flag), None)


def _listed(examples: set[int]) -> str:
    shown = ", ".join(map(str, sorted(examples)[:SHOWN]))
    more = len(examples) - SHOWN
    return shown + (f" and {more} more" if more > 0 else "")
