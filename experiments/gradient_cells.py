"""The cells of a comparison of gradient estimators: bounds x K x estimators.

Each cell draws gradients at the same parameters, observations and keys, and compares
them with one reference per bound and K.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax

from vaejax import exact
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Key,
    Model,
    Params,
    Problem,
    VaejaxError,
)
from vaejax.diagnostics import (
    CostReport,
    GroupReport,
    Moments,
    cost_report,
    fold_count,
    gradient_moments,
    summarize,
)
from vaejax.estimators import ESTIMATORS
from vaejax.objective import check, make_objective

COLUMNS = (
    "model",
    "bound",
    "estimator",
    "num_samples",
    "group",
    "status",
    "bias",
    "bias_stderr",
    "variance",
    "snr",
    "cosine",
    "seconds_per_gradient",
    "flops",
    "peak_bytes",
    "work_normalized_variance",
)
# Reference estimators, the one of least variance first.
REFERENCES = ("dreg", "pathwise", "rloo", "score_function")
EXACT_TOLERANCE = 1e-5  # far below the Monte Carlo error of any affordable draws
REFERENCE_DRAWS = 4  # times as many as each estimator gets


class Keys(NamedTuple):
    """The random streams of a comparison."""

    params: Key
    examples: Key
    state: Key
    draws: Key
    reference: Key


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


class Cell(NamedTuple):
    """One estimator of one bound at one K."""

    name: str
    rows: list[dict[str, Any]]  # a parameter group each
    refusal: str | None  # the reason, if the estimator refuses the bound
    reference: str | None = None  # what the gradients were compared with


def measure_cells(
    setting: Setting,
    bounds: Sequence[Bound],
    estimators: Sequence[Estimator],
    num_samples: Sequence[int],
) -> Iterator[Cell]:
    """Measure one cell after another; one that is refused is a row that says so."""
    for bound in bounds:
        for k in num_samples:
            problem = Problem(model=setting.model, bound=bound, num_samples=k)
            reference: Params | Moments | None = None
            for estimator in estimators:
                name = f"{estimator.name} x {bound.name}, K = {k}"
                row = dict.fromkeys(COLUMNS) | {
                    "model": setting.model.name,
                    "bound": bound.name,
                    "estimator": estimator.name,
                    "num_samples": k,
                    "group": "all",
                }
                verdict = check(problem, estimator)
                row["status"] = verdict.status
                if verdict.status == "refused":
                    yield Cell(name, [row], verdict.reason)
                    continue
                if reference is None:
                    reference = _reference(setting, problem)
                reports, cost = _measure(setting, problem, estimator, reference)
                rows = [
                    row
                    | report._asdict()
                    | cost._asdict()
                    | {
                        "group": group,
                        "work_normalized_variance": report.variance
                        * cost.seconds_per_gradient,
                    }
                    for group, report in reports.items()
                ]
                drawn = isinstance(reference, Moments)
                source = "an unbiased estimator" if drawn else "the exact gradient"
                yield Cell(name, rows, None, source)


def _measure(
    setting: Setting,
    problem: Problem,
    estimator: Estimator,
    reference: Params | Moments,
) -> tuple[dict[str, GroupReport], CostReport]:
    objective = make_objective(
        problem.model,
        problem.bound,
        estimator,
        num_samples=problem.num_samples,
        allow_bias=True,
    )
    _, state = objective.init(setting.keys.state)
    at = objective, setting.params, state, setting.keys.draws, setting.batch
    moments = gradient_moments(*at, draws=setting.draws)
    return summarize(moments, reference), cost_report(*at)


def _reference(setting: Setting, problem: Problem) -> Params | Moments:
    """The gradient of the loss: exact, or draws of its own of an unbiased estimator."""
    try:
        found = exact.value_and_gradient(
            problem, setting.params, setting.batch.example, tolerance=EXACT_TOLERANCE
        )
        sign = 1 if problem.bound.upper else -1
        return jax.tree.map(lambda leaf: sign * leaf, found.gradient)
    except VaejaxError:  # no closed form, too many nodes, or not converged
        pass
    for name in REFERENCES:
        estimator = ESTIMATORS[name]()
        if check(problem, estimator).status == "unbiased":
            break
    objective = make_objective(
        problem.model, problem.bound, estimator, num_samples=problem.num_samples
    )
    _, state = objective.init(setting.keys.state)
    return gradient_moments(
        objective,
        setting.params,
        state,
        setting.keys.reference,
        setting.batch,
        draws=REFERENCE_DRAWS * setting.draws,
        folds=fold_count(setting.draws),
    )
