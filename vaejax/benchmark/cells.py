"""The cells of a comparison of gradient estimators: bounds x K x M x estimators.

The cells of a group share the bound, K and M, and the reference that they are compared
with. All cells see the same parameters, observations and keys.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.benchmark.evaluations import counted
from vaejax.benchmark.moments import make_plan
from vaejax.benchmark.rows import Cell, Row
from vaejax.compatibility import check_with_remedy
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    EstState,
    Key,
    LossState,
    Model,
    Objective,
    Params,
    Problem,
    PyTree,
    VaejaxError,
    Verdict,
)
from vaejax.core.memory import check_product, sample_size
from vaejax.objective import make_objective, split_params, weight_of_kl

AS_INITIALISED = "control variate as initialised"


class Keys(NamedTuple):
    """The random streams of a comparison."""

    state: Key  # stream for the estimators' parameters and states
    draws: Key
    reference: Key
    split: Key


class Point(NamedTuple):
    """The point where gradients are taken, and the number of draws."""

    model: Model
    params: Params
    batch: Batch
    keys: Keys
    draws: int
    batch_size: int | None = None  # observations drawn anew for every gradient
    seconds: float | None = None  # time budget of the draws of each cell
    split_variance: bool = False
    per_layer: bool = False
    reference_error: float = 0.05  # asked of a drawn one, relative to a group's norm
    step: int | None = None  # training step of the parameters
    trained_with: str | None = None  # the training run's estimator, by name
    trained_state: EstState = ()
    as_initialised: bool = False  # the parameters are known to be of no training

    @property
    def observations(self) -> int:
        """The number of observations that a gradient is the mean over."""
        return self.batch_size or len(self.batch.global_index)


class CellGroup(NamedTuple):
    """The cells that share a reference."""

    problem: Problem
    num_outer: int  # M, independent estimates that a gradient is the mean of
    estimators: dict[str, Estimator]  # estimators by name
    rows: dict[str, Row]  # rows by estimator name, with the verdict, without numbers

    @property
    def valid(self) -> list[str]:
        """The names of the estimators that are not refused."""
        return [name for name, row in self.rows.items() if not row.refused]

    def refusing(self, measured: Iterable[Row]) -> "CellGroup":
        """The group with the rows of estimators that refused as they were measured."""
        refused = {row.cell.estimator: row for row in measured if row.refused}
        return self._replace(rows=self.rows | refused)


def make_groups(
    point: Point,
    bounds: Sequence[Bound],
    estimators: Sequence[Estimator],
    num_samples: Sequence[int],
    num_outer: Sequence[int],
) -> list[CellGroup]:
    """The groups of every combination, with the verdict on each cell.

    Raises:
        VaejaxError: two estimators, or two bounds, of one name, whose cells would be
            one; more numbers than a program can hold.
    """
    for kind, several in (("estimators", estimators), ("bounds", bounds)):
        names = [one.name for one in several]
        if len(set(names)) < len(names):
            raise VaejaxError(
                f"the {kind} {', '.join(names)} share a name: decorate the factory "
                "with vaejax.named_by_settings, which adds the settings to the name, "
                "or give each one its own, as in "
                f"dataclasses.replace({kind[:-1]}, name=...)"
            )
    check_gradients(point, max(num_samples), max(num_outer))
    named = {estimator.name: estimator for estimator in estimators}
    groups = []
    for bound in bounds:
        for k in num_samples:
            problem = Problem(model=point.model, bound=bound, num_samples=k)
            verdicts = {est.name: _verdict(point, problem, est) for est in estimators}
            for outer in num_outer:
                rows = {
                    name: Row(
                        Cell(
                            model=point.model.name,
                            bound=bound.name,
                            estimator=name,
                            num_samples=k,
                            num_outer=outer,
                            batch_size=point.observations,
                            step=point.step,
                        ),
                        beta=weight_of_kl(bound),
                        verdict=verdict,
                        reference_error_asked=point.reference_error,
                        trained=not point.as_initialised,
                    )
                    for name, verdict in verdicts.items()
                }
                groups.append(CellGroup(problem, outer, named, rows))
    return groups


def check_gradients(point: Point, num_samples: int, num_outer: int) -> None:
    """Refuse gradients of more numbers than a program can hold.

    Raises:
        VaejaxError: they are too many.
    """
    size = _sample_size(point)
    plan = make_plan(point.params, point.draws, None, point.batch_size)
    check_product(
        {
            "num_samples": num_samples,
            "num_outer": num_outer,
            "batch_size": point.observations,
        },
        size * plan.chunk,
    )
    # Every draw and array keeps two deviations and two products.
    check_product({"draws": point.draws}, 4 * len(jax.tree.leaves(point.params)))


def _verdict(point: Point, problem: Problem, estimator: Estimator) -> Verdict:
    """The verdict, whose reason notes estimator arrays that are not trained."""
    verdict = check_with_remedy(problem, estimator)
    if point.trained_with is None or verdict.status == "refused":
        return verdict
    fresh = jax.eval_shape(partial(estimator.init, problem), point.keys.state)
    if not jax.tree.leaves(fresh) or _is_trained(point, estimator.name, fresh):
        return verdict
    reason = "; ".join(filter(None, (verdict.reason, AS_INITIALISED)))
    return verdict._replace(reason=reason)


def _is_trained(point: Point, name: str, fresh: tuple[PyTree, EstState]) -> bool:
    """True if the run trained the estimator's own arrays, of these shapes."""
    trained = point.params.auxiliary, point.trained_state
    shapes = [jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (fresh, trained)]
    return name == point.trained_with and shapes[0] == shapes[1]


def objective_at(
    point: Point, group: CellGroup, name: str
) -> tuple[Objective, Params, LossState]:
    """A cell's objective, with the parameters and the state of its loss."""
    objective = _objective(group.problem, group.estimators[name], group.num_outer)
    fresh, state = objective.init(point.keys.state)
    params = point.params
    if _is_trained(point, name, (fresh.auxiliary, state.estimator)):
        state = state._replace(estimator=point.trained_state)
    else:
        params = params._replace(auxiliary=fresh.auxiliary)
    return objective, *split_params(params, state)


@cache  # one object, so that its compiled programs serve other parameters
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

    def loss(params: Params, state: LossState, key: Key, batch: Batch) -> tuple:
        def one(key: Key) -> tuple:
            return objective.loss(params, state, key, batch)

        value, (states, metrics) = jax.vmap(one)(jax.random.split(key, count))
        first = jax.tree.map(lambda leaf: leaf[0], states)
        return value.mean(), (first, jax.tree.map(jnp.mean, metrics))

    return dataclasses.replace(objective, loss=loss)


def work_of(point: Point, problem: Problem, num_outer: int = 1) -> float:
    """The rough number of results in a gradient that XLA's own code computes.

    The entries of every sample, and one per thousand products of its network, as many
    as there are parameters: a library computes the products themselves.
    """
    products = sum(leaf.size for leaf in jax.tree.leaves(point.params))
    samples = point.observations * num_outer * problem.num_samples
    return samples * (_sample_size(point) + products / 1000)


def _sample_size(point: Point) -> int:
    y = point.batch.example.y
    return sample_size(point.model, point.params, None if y is None else y[0])
