"""`check_unbiased`: a test of an estimator's mean against the gradient of the bound.

Coordinate i of n draws has the z-score

    z_i = (mean_i - g*_i) / sqrt(var_i / n + error_i^2),

where error_i is the standard error of a drawn reference, and else rounding. No bias is
seen where every |z_i| is below Student's t of n - 1 degrees at 1% / (2 P), by
Bonferroni over the P coordinates. A bias of t + t_95 standard errors or more in one of
them is found with a chance of 95%: the power of the check.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import stdtrit

from vaejax.benchmark.cells import (
    CellGroup,
    Keys,
    Point,
    make_groups,
    objective_at,
    work_of,
)
from vaejax.benchmark.moments import Moments, fold_count, gradient_moments, groups
from vaejax.benchmark.reference import reference_of
from vaejax.benchmark.report import (
    FEW,
    HEAVY,
    LARGEST_SHARE,
    ROUNDING,
    GroupReport,
    summarize,
)
from vaejax.core import Batch, Bound, Estimator, Example, Key, Model, Params, check_data
from vaejax.core.build import answered
from vaejax.core.doors import expect, expect_count, expect_key, expect_params
from vaejax.progress import bar

LEVEL = 0.01  # chance that an unbiased estimator is reported biased
POWER = 0.95


class BiasCheck(NamedTuple):
    """The outcome of `check_unbiased`, which prints as a sentence."""

    unbiased: bool | None  # None where the draws cannot decide
    largest_z: float  # max_i |z_i|
    limit: float  # the limit on `largest_z`
    coordinates: int  # P
    draws: int
    reference: str
    detectable: float  # the least |c| of a bias c g* that is found with a chance of 95%
    sentence: str

    def __str__(self) -> str:
        """The verdict."""
        return self.sentence


@answered
def check_unbiased(
    estimator: Estimator,
    bound: Bound,
    model: Model,
    params: Params,
    batch: Batch | Example,
    *,
    num_samples: int,
    draws: int = 10_000,
    key: Key,
    progress: bool = False,
) -> BiasCheck:
    """Compare the mean of many gradients with the true one, coordinate by coordinate.

    Args:
        estimator: whose gradients are drawn; also your own.
        bound: whose gradient they are to estimate.
        model: small enough to be integrated, for the exact gradient; else the reference
            is drawn from another estimator that is unbiased.
        params: where; not at a symmetric start, where biases may cancel.
        batch: the observations, every leaf [B, ...].
        num_samples: K.
        draws: n; a number that has a divisor between 8 and 40.
        key: of the draws.
        progress: show a bar of the two steps, the gradients and the reference.

    Raises:
        VaejaxError: objects of another kind, data that the model cannot take, or no
            gradient to compare with.
        IncompatibleError: the estimator is not valid here.

    Examples:
        >>> model = linear_gaussian(data_shape=(2,), latent_dim=1)
        >>> params, x = model.init(jax.random.key(0)), Example(jnp.ones((3, 2)))
        >>> settings = dict(num_samples=4, draws=2000, key=jax.random.key(1))
        >>> check_unbiased(dreg(), iwae(), model, params, x, **settings).unbiased
        True
        >>> check_unbiased(stl(), iwae(), model, params, x, **settings).unbiased
        False
    """
    expect(Estimator, "estimator", estimator)
    examples = check_data(expect(Model, "model", model), batch, name="batch")
    fold_count(draws)
    num_samples = expect_count("num_samples", num_samples)
    point = Point(
        model=model,
        params=expect_params(params, model),
        batch=Batch(examples, jnp.arange(len(examples.x))),
        keys=Keys(*jax.random.split(expect_key(key), len(Keys._fields))),
        draws=draws,
    )
    (group,) = make_groups(
        point, [expect(Bound, "bound", bound)], [estimator], (num_samples,), (1,)
    )
    at = objective_at(point, group, estimator.name)
    work = draws * work_of(point, group.problem)
    with bar("check", 2, "steps", shown=progress, note="gradients") as update:
        moments = gradient_moments(
            *at, point.keys.draws, point.batch, draws=draws, work=work
        )
        update(1, "reference")
        reference, words, _ = reference_of(point, group.problem, but=estimator.name)
        update(2)
    return _verdict(group, estimator, moments, reference, words)


def _verdict(
    group: CellGroup,
    estimator: Estimator,
    moments: Moments,
    reference: Params | Moments,
    words: str,
) -> BiasCheck:
    truth = reference.mean if isinstance(reference, Moments) else reference
    targets = groups(truth)
    means, variances = groups(moments.mean), groups(moments.variance)
    drawn = groups(reference.variance) if isinstance(reference, Moments) else {}
    parts = []
    for name in targets:
        error = ROUNDING * np.linalg.norm(targets[name])
        square = variances[name] / moments.draws + error**2
        if isinstance(reference, Moments):
            square = square + drawn[name] / reference.draws
        parts.append((means[name] - targets[name], np.sqrt(square), targets[name]))
    difference, stderr, target = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    count = difference.size
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(difference == 0, 0, np.abs(difference) / stderr)
        signal = np.where(target == 0, 0, np.abs(target) / stderr)
    limit = float(stdtrit(moments.draws - 1, 1 - LEVEL / (2 * count)))
    reach = limit + float(stdtrit(moments.draws - 1, POWER))
    strongest = float(np.max(signal, initial=0))
    detectable = reach / strongest if strongest > 0 else math.inf
    largest = float(np.max(z, initial=0))
    reports = summarize(moments, truth)
    doubted = {name: reports[name] for name in targets if not reports[name].safe}
    seen = largest > limit
    unbiased = False if seen else (None if doubted else True)
    problem = group.problem
    where = (
        f"{estimator.name} under {problem.bound.name} on {problem.model.name}, "
        f"K = {problem.num_samples}"
    )
    against = (
        f"largest |z| {largest:.3g} of {count:,} coordinates against {words}, limit "
        f"{limit:.3g}, {moments.draws:,} draws"
    )
    verdict = group.rows[estimator.name].verdict
    if seen:
        declared = f", as declared: {verdict.reason}" * (verdict.status == "biased")
        sentence = f"{where}, is biased ({against}){declared}."
    elif unbiased is None:
        sentence = (
            f"{where}: the draws cannot say ({against}): "
            f"{_doubt(moments.draws, doubted)}; use more draws."
        )
    else:
        sentence = (
            f"{where}: no bias is seen ({against}); a gradient that is off by "
            f"{detectable:.2g} of itself would have been found with a chance of "
            f"{POWER:.0%}."
        )
    return BiasCheck(
        unbiased, largest, limit, count, moments.draws, words, detectable, sentence
    )


def _doubt(draws: int, doubted: Mapping[str, GroupReport]) -> str:
    """Why the draws do not show that their errors are right; see `safe`."""
    if draws < FEW:
        return f"{draws} of them are fewer than {FEW}, and cannot show a heavy tail"
    shapes = {name: report.pareto_k for name, report in doubted.items()}
    worst = max(shapes, key=lambda name: shapes[name])
    if shapes[worst] >= HEAVY:
        return (
            f"the tails are heavy, with a Pareto k of {shapes[worst]:.2g} in the group "
            f"{worst} (the limit is {HEAVY})"
        )
    return (
        f"a single draw holds more than {LARGEST_SHARE:.0%} of the variance in the "
        f"group {worst}"
    )
