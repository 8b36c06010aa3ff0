"""`compare_estimators`: bias, variance, signal and cost, in one call."""

import contextlib
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import jax
import jax.numpy as jnp

from vaejax.benchmark.cells import Keys, Point, make_groups
from vaejax.benchmark.measure import measure_costs, measure_groups
from vaejax.benchmark.moments import fold_count
from vaejax.benchmark.rows import Row
from vaejax.benchmark.table import EstimatorTable
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    EstState,
    Example,
    Key,
    Model,
    Params,
    VaejaxError,
    check_data,
)
from vaejax.core.build import answered
from vaejax.core.doors import (
    expect,
    expect_all,
    expect_counts,
    expect_distinct_counts,
    expect_key,
    expect_params,
)
from vaejax.core.ranges import Range, mismatch, shown
from vaejax.progress import bar


@answered
def compare_estimators(
    model: Model,
    params: Params,
    batch: Batch | Example,
    *,
    bounds: Sequence[Bound],
    estimators: Sequence[Estimator],
    num_samples: Sequence[int] | int,
    draws: int = 2000,
    key: Key,
    num_outer: Sequence[int] | int = 1,
    batch_size: int | None = None,
    reference_error: float = 0.05,
    per_layer: bool = False,
    cost: Literal["timed", "counted", "none"] = "timed",
    trained_with: Estimator | None = None,
    trained_state: EstState = (),
    progress: bool = False,
) -> EstimatorTable:
    """Measure every estimator under every bound at every K, at the same parameters.

    All gradients are taken on the same observations with the same keys. They are
    compared with the exact gradient of the bound where the model can be integrated, and
    else with the mean of an unbiased estimator's draws; every row names its reference.
    A cell whose estimator is not valid, or raises a `VaejaxError` when it is checked or
    drawn, is a row with the reason, and nothing is raised.

    Args:
        model: any, registered or not.
        params: where the gradients are taken.
        batch: the observations, every leaf [B, ...].
        bounds: to be told apart by name, as the factories name them by their settings.
        estimators: likewise; also your own.
        num_samples: K, importance samples per observation; one, or several.
        draws: gradients per cell; a number that has a divisor between 8 and 40.
        key: of all draws.
        num_outer: M, independent estimates that a gradient is the mean of.
        batch_size: take so many of the observations, drawn anew with replacement for
            every gradient (so that they may be more than there are), and split the
            variance into that of the data and that of the latents.
        reference_error: the error wanted of a drawn reference, relative to the norm of
            each group's gradient. At most 16 passes are drawn for it.
        per_layer: add a row for every array of parameters.
        cost: timed, counted (evaluations of the decoder alone), or none.
        trained_with: the estimator whose own parameters `params.auxiliary` holds.
        trained_state: the state that this estimator had at the end of its training.
        progress: show a bar of the cells.

    Returns:
        A table of `Row`, which shows, draws and writes itself.

    Raises:
        VaejaxError: names, arrays or numbers in the place of objects; two estimators or
            bounds of one name; draws that cannot be folded; data that the model cannot
            take; or more numbers than the memory holds.

    Examples:
        >>> model = linear_gaussian(data_shape=(2,), latent_dim=1)
        >>> table = compare_estimators(
        ...     model,
        ...     model.init(jax.random.key(0)),
        ...     Example(jnp.ones((3, 2))),
        ...     bounds=[iwae()],
        ...     estimators=[stl(), dreg(), rloo()],
        ...     num_samples=[4],
        ...     draws=400,
        ...     key=jax.random.key(1),
        ... )
        >>> {line["estimator"]: line["status"] for line in table.lines()}
        {'stl': 'biased', 'dreg': 'unbiased', 'rloo': 'refused'}
        >>> answer = table.findings()  # in words, a sentence a claim
    """
    expect(Model, "model", model)
    examples = check_data(model, batch, name="batch")
    counts = expect_distinct_counts("num_samples", num_samples)
    outer = expect_distinct_counts("num_outer", num_outer)
    if cost not in ("timed", "counted", "none"):
        raise VaejaxError(f"cost is {cost!r}: use timed, counted or none")
    expect_counts(batch_size=batch_size)
    if expected := mismatch(Annotated[float, Range(0, math.inf)], reference_error):
        raise VaejaxError(
            f"reference_error is {shown(reference_error)}: give {expected}"
        )
    fold_count(draws, 1 if batch_size is None else 2)
    if trained_with is not None:
        expect(Estimator, "trained_with", trained_with)
    point = Point(
        model=model,
        params=expect_params(params, model),
        batch=Batch(examples, jnp.arange(len(examples.x))),
        keys=Keys(*jax.random.split(expect_key(key), len(Keys._fields))),
        draws=draws,
        batch_size=batch_size,
        split_variance=batch_size is not None,
        per_layer=per_layer,
        reference_error=reference_error,
        trained_with=None if trained_with is None else trained_with.name,
        trained_state=trained_state,
    )
    groups = make_groups(
        point,
        expect_all(Bound, "bounds", bounds),
        expect_all(Estimator, "estimators", estimators),
        counts,
        outer,
    )
    rows: list[Row] = []
    done, total = 0, sum(len(group.valid) for group in groups)
    with (
        bar("comparison", total, "cells", shown=progress) as update,
        contextlib.closing(
            measure_groups([(point, group, group.valid) for group in groups])
        ) as measurements,
    ):
        for group, measured in zip(groups, measurements, strict=True):
            found = {}
            for name, own in measured:
                found[name] = own
                done += 1
                update(done, name)
            group = group.refusing(row for own in found.values() for row in own)
            costs = {}
            if group.valid and cost != "none":
                costs = measure_costs(point, group, cost == "timed")
            for name, row in group.rows.items():
                own = found.get(name, [row])
                rows += [one._replace(cost=costs.get(name)) for one in own]
    return EstimatorTable(tuple(rows))
