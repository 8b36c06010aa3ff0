"""The reference gradient of a comparison: exact, or else drawn."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax import exact
from vaejax.benchmark.cells import CellGroup, Point, objective_at, work_of
from vaejax.benchmark.combining import combine
from vaejax.benchmark.moments import Moments, gradient_moments, groups
from vaejax.compatibility import check
from vaejax.core import Estimator, Params, Problem, VaejaxError
from vaejax.estimators import ESTIMATORS

# Reference estimators, in order of rising variance.
REFERENCES = ("dreg", "pathwise", "vimco", "rloo", "score_function")
EXACT = "the exact gradient"
EXACT_TOLERANCE = 1e-5  # far below the Monte Carlo error of any affordable draws
REFERENCE_DRAWS = 4  # draws of a pass, as a multiple of an estimator's draws
MAX_PASSES = 16  # the most passes of the reference
BUDGET_DRAWS = 200  # draws of a pass, where time decides the number of passes


class Reference(NamedTuple):
    """The gradient of the loss, exact or drawn."""

    gradient: Params | Moments
    words: str  # a description
    errors: dict[str, float]  # relative to the norm, by the rows' groups


def reference_of(
    point: Point, problem: Problem, *, but: str | None = None
) -> Reference:
    """The exact gradient where the model can be integrated, else a drawn one.

    A drawn reference never uses the estimator `but`, which is compared with it.
    """
    # An estimator's own parameters have no gradient of the bound to compare with.
    params = point.params._replace(auxiliary=())
    try:
        found = exact.value_and_gradient(
            problem, params, point.batch.example, tolerance=EXACT_TOLERANCE
        )
    except VaejaxError:  # no closed form, too many nodes, or not converged
        moments, words = drawn_reference(point, problem, but=but)
        return Reference(moments, words, _relative_errors(point, moments))
    sign = 1 if problem.bound.minimised else -1
    gradient = jax.tree.map(lambda leaf: sign * leaf, found.gradient)
    names = groups(gradient, point.per_layer)
    return Reference(gradient, EXACT, dict.fromkeys(names, 0.0))


def drawn_reference(
    point: Point, problem: Problem, *, but: str | None = None
) -> tuple[Moments, str]:
    """Independent draws of an unbiased estimator, until their mean is known well.

    The criterion is for groups that can meet it: the error falls as one over the root
    of the passes, so that the first pass shows whether `MAX_PASSES` are enough.
    """
    unbiased = [
        estimator
        for estimator in map(_estimator, REFERENCES)
        if estimator.name != but and check(problem, estimator).status == "unbiased"
    ]
    if not unbiased:
        raise VaejaxError(
            f"there is no reference for {problem.bound.name} on {problem.model.name}: "
            f"the bound cannot be integrated, and none of {', '.join(REFERENCES)} is "
            "unbiased for it; use a smaller model"
        )
    name = unbiased[0].name
    at = objective_at(point, CellGroup(problem, 1, {name: unbiased[0]}, {}), name)
    draws = point.draws if point.seconds is None else BUDGET_DRAWS
    # With a direction, the program is that of a cell, and need not be compiled twice.
    draw = partial(
        gradient_moments,
        *at,
        batch=point.batch,
        draws=draws,
        batch_size=point.batch_size,
        reference=jax.tree.map(jnp.zeros_like, at[1]),
        work=draws * work_of(point, problem),
    )

    def draw_pass(number: int) -> Moments:
        key = jax.random.fold_in(point.keys.reference, number)
        keys = jax.random.split(key, REFERENCE_DRAWS)
        return combine([draw(key=key) for key in keys])

    def is_wanting(known: Moments, passes: int) -> bool:
        reach = point.reference_error * np.sqrt(MAX_PASSES / passes)
        errors = _relative_errors(point, known).values()
        return any(point.reference_error < error <= reach for error in errors)

    known, passes = draw_pass(0), 1
    while is_wanting(known, passes):
        known, passes = combine([known, draw_pass(passes)]), passes + 1
    mean, variance = (
        np.concatenate(list(groups(tree).values()))
        for tree in (known.mean, known.variance)
    )
    error = _relative_error(mean, variance, known.draws)
    words = f"error {100 * error:.2g}% of the norm"
    if np.isinf(error):
        words = "of which no norm is seen above the noise"
    return known, f"{name}, {known.draws:,} draws, {words}"


@cache  # one object, so that its compiled programs serve again
def _estimator(name: str) -> Estimator:
    return ESTIMATORS[name]()


def _relative_errors(point: Point, moments: Moments) -> dict[str, float]:
    """The relative error in every group that the point reports on."""
    variances = groups(moments.variance, point.per_layer)
    return {
        name: _relative_error(mean, variances[name], moments.draws)
        for name, mean in groups(moments.mean, point.per_layer).items()
    }


def _relative_error(mean: np.ndarray, variance: np.ndarray, draws: int) -> float:
    """The standard error of the mean gradient, over its norm less its noise."""
    noise = variance.sum() / draws
    signal = mean @ mean - noise
    return float(np.sqrt(noise / signal)) if signal > 0 else np.inf


def direction_of(reference: Params | Moments, params: Params) -> Params:
    """The gradient that single draws are compared with, as a tree of parameters."""
    direction = reference.mean if isinstance(reference, Moments) else reference
    nothing = jax.tree.map(jnp.zeros_like, params.auxiliary)
    as_float = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), direction)
    return as_float._replace(auxiliary=nothing)
