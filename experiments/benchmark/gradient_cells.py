"""The cells of a comparison of gradient estimators: bounds x K x M x estimators.

The cells of a set share the bound, K and M, and the reference that they are compared
with. All cells see the same parameters, observations and keys.
"""

import dataclasses
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.harness.memory import check_product, sample_size
from vaejax.benchmark import CostReport, GroupReport, VarianceSplit, counted
from vaejax.benchmark.moments import make_plan
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    EstState,
    Key,
    Model,
    Objective,
    Params,
    Problem,
    PyTree,
    VaejaxError,
    Verdict,
)
from vaejax.objective import check, make_objective, split_params, weight_of_kl

Row = dict[str, Any]

AS_INITIALISED = "control variate as initialised"
SPLIT_COLUMNS = tuple(f"variance_{name}" for name in VarianceSplit._fields)
CELL = ("model", "bound", "estimator", "num_samples", "num_outer", "batch_size", "step")
# The run's settings that tell the rows of several runs apart.
SETTINGS = ("checkpoint", "model_settings", "seed", "pool", "budget")
COLUMNS = (
    *CELL,
    *("beta", "group", "status", "reason", "draws"),
    *("reference", "reference_error", "reference_error_asked"),
    *GroupReport._fields,
    *SPLIT_COLUMNS,
    *CostReport._fields,
    *("work_normalized_variance", "work_normalized_variance_stderr"),
    *("evaluation_normalized_variance", "evaluation_normalized_variance_stderr"),
    *SETTINGS,
    "config_hash",
)


class Keys(NamedTuple):
    """The random streams of a comparison."""

    params: Key
    examples: Key
    state: Key
    draws: Key
    reference: Key
    split: Key


def make_keys(seed: int) -> Keys:
    """Split the seed's key."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


class Setting(NamedTuple):
    """Where the gradients are taken, and how many of them."""

    model: Model
    params: Params
    batch: Batch
    keys: Keys
    draws: int
    batch_size: int | None = None  # drawn from the batch for every gradient anew
    seconds: float | None = None  # for each cell: draws until they are spent
    split_variance: bool = False
    per_layer: bool = False
    reference_error: float = 0.05  # of a drawn reference, relative to each group's norm
    step: int | None = None  # of the training run that the parameters come from
    trained_with: str | None = None  # the estimator of that run, its settings too
    trained_state: EstState = ()

    @property
    def observations(self) -> int:
        """How many a gradient is the mean over."""
        return self.batch_size or len(self.batch.global_index)


class Set(NamedTuple):
    """The cells that share a reference."""

    problem: Problem
    num_outer: int  # M, independent estimates that a gradient is the mean of
    estimators: dict[str, Estimator]  # by a name that is of their settings, too
    rows: dict[str, Row]  # what names each estimator's cell, and its verdict


def make_sets(
    setting: Setting,
    bounds: Sequence[Bound],
    estimators: Sequence[Estimator],
    num_samples: Sequence[int],
    num_outer: Sequence[int],
) -> list[Set]:
    """Every combination, with the verdict on it.

    Raises:
        VaejaxError: two estimators of one name, whose cells would be one.
    """
    named = {estimator.name: estimator for estimator in estimators}
    if len(named) < len(estimators):
        raise VaejaxError(
            f"the estimators {', '.join(e.name for e in estimators)} share a name: "
            "give each one its own, as by dataclasses.replace(estimator, name=...)"
        )
    check_gradients(setting, max(num_samples), max(num_outer))
    sets = []
    for bound in bounds:
        for k in num_samples:
            problem = Problem(model=setting.model, bound=bound, num_samples=k)
            verdicts = {est.name: _verdict(setting, problem, est) for est in estimators}
            sets += [
                Set(
                    problem,
                    outer,
                    named,
                    {
                        name: {
                            "model": setting.model.name,
                            "bound": bound.name,
                            "estimator": name,
                            "num_samples": k,
                            "beta": weight_of_kl(bound),
                            "num_outer": outer,
                            "batch_size": setting.observations,
                            "step": setting.step,
                            "status": verdict.status,
                            "reason": reason,
                        }
                        for name, (verdict, reason) in verdicts.items()
                    },
                )
                for outer in num_outer
            ]
    return sets


def check_gradients(setting: Setting, num_samples: int, num_outer: int) -> None:
    """Refuse gradients of more numbers than a program can hold.

    Raises:
        VaejaxError: they are too many.
    """
    y = setting.batch.example.y
    size = sample_size(setting.model, setting.params, None if y is None else y[0])
    plan = make_plan(setting.params, setting.draws, None, setting.batch_size)
    check_product(
        {
            "num_samples": num_samples,
            "num_outer": num_outer,
            "batch_size": setting.observations,
        },
        size * plan.chunk,
    )
    # Every draw and array keeps two deviations and two products.
    check_product({"draws": setting.draws}, 4 * len(jax.tree.leaves(setting.params)))


def _verdict(
    setting: Setting, problem: Problem, estimator: Estimator
) -> tuple[Verdict, str]:
    """The verdict, and its reason: also that what could be trained is not."""
    verdict = check(problem, estimator)
    if setting.trained_with is None or verdict.status == "refused":
        return verdict, verdict.reason
    own = jax.eval_shape(partial(estimator.init, problem), setting.keys.state)
    if not jax.tree.leaves(own) or _is_trained(setting, estimator.name, own):
        return verdict, verdict.reason
    return verdict, "; ".join(filter(None, (verdict.reason, AS_INITIALISED)))


def _is_trained(setting: Setting, name: str, own: tuple[PyTree, EstState]) -> bool:
    """Whether the run trained what the estimator has of its own, of these shapes."""
    trained = setting.params.auxiliary, setting.trained_state
    shapes = [jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (own, trained)]
    return name == setting.trained_with and shapes[0] == shapes[1]


def valid(cells: Set) -> list[str]:
    """The estimators that do not refuse."""
    return [name for name, row in cells.rows.items() if row["status"] != "refused"]


def objective_at(
    setting: Setting, cells: Set, name: str
) -> tuple[Objective, Params, PyTree]:
    """A cell's objective, with the parameters and the state."""
    estimator = cells.estimators[name]
    objective = _objective(cells.problem, estimator, cells.num_outer)
    fresh, state = objective.init(setting.keys.state)
    params = setting.params
    if _is_trained(setting, name, (fresh.auxiliary, state.estimator)):
        state = state._replace(estimator=setting.trained_state)
    else:
        params = params._replace(auxiliary=fresh.auxiliary)
    return objective, *split_params(params, state)


@cache  # the same one, so that what is compiled serves at other parameters
def _objective(problem: Problem, estimator: Estimator, num_outer: int) -> Objective:
    objective = make_objective(
        counted(problem.model),
        problem.bound,
        estimator,
        num_samples=problem.num_samples,
        allow_bias=True,
    )
    return objective if num_outer == 1 else mean_of_estimates(objective, num_outer)


def mean_of_estimates(objective: Objective, count: int) -> Objective:
    """The mean of M independent estimates on the same observations."""

    def loss(params: Params, state: PyTree, key: Key, batch: Batch) -> tuple:
        def one(key: Key) -> tuple:
            return objective.loss(params, state, key, batch)

        value, (states, metrics) = jax.vmap(one)(jax.random.split(key, count))
        first = jax.tree.map(lambda leaf: leaf[0], states)
        return value.mean(), (first, jax.tree.map(jnp.mean, metrics))

    return dataclasses.replace(objective, loss=loss)


def work_of(setting: Setting, problem: Problem, num_outer: int = 1) -> float:
    """The products that a gradient takes, roughly: one a parameter and sample."""
    size = sum(leaf.size for leaf in jax.tree.leaves(setting.params))
    return float(setting.observations * num_outer * problem.num_samples * size)
