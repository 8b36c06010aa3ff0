"""The parts of a gradient's variance: the data of a minibatch, and the latents.

By the law of total variance, with x the minibatch,

    tr Cov(g) = tr Cov(E[g | x]) + E tr Cov(g | x)
                (data)             (latents)

Pairs g, g' share x and nothing else, so that g - g' has the covariance
2 E Cov(g | x), and (g + g') / 2 has Cov(E[g | x]) + E Cov(g | x) / 2. Both parts fall
as one over the batch size, so that no batch size changes which is the larger; an
estimator can at best remove the second.
"""

from typing import NamedTuple

import numpy as np

from vaejax.benchmark.moments import fold_count, groups, make_plan, stream
from vaejax.core import Batch, Key, Objective, Params, PyTree


class VarianceSplit(NamedTuple):
    """The traces of the two parts of a group's covariance."""

    data: float  # unbiased: below zero by chance where it is small
    data_stderr: float
    latents: float  # all the noise given the data
    latents_stderr: float


def variance_split(
    objective: Objective,
    params: Params,
    state: PyTree,
    key: Key,
    batch: Batch,
    *,
    draws: int,
    batch_size: int,
    per_layer: bool = False,
) -> dict[str, VarianceSplit]:
    """Split the variance of the gradient, by parameter group.

    Args:
        objective: whose gradient of `loss` it is.
        params: where.
        state: the estimator's state there.
        key: of the draws.
        batch: the observations that minibatches are drawn from, with replacement.
        draws: pairs of gradients, in 8 to 40 equal folds of two pairs or more.
        batch_size: observations of a gradient.
        per_layer: split the variance of every array of parameters by itself.

    Raises:
        VaejaxError: `draws` cannot be folded, or `batch_size` is below 1.
    """
    plan = make_plan(params, draws, fold_count(draws, 2), batch_size)
    batch = batch._replace(example=objective.data.check(batch.example))
    pair, *_ = stream(objective, plan, True, params, state, key, batch)
    mean, half_difference = (
        {
            name: square.sum(1) / (plan.per_fold - 1)
            for name, square in groups(moments["fold_squares"], per_layer, 1).items()
        }
        for moments in pair
    )
    return {
        name: VarianceSplit(
            *_mean_and_stderr(mean[name] - half_difference[name]),
            *_mean_and_stderr(2 * half_difference[name]),
        )
        for name in mean
    }


def _mean_and_stderr(folds: np.ndarray) -> tuple[float, float]:
    return float(folds.mean()), float(folds.std(ddof=1) / np.sqrt(len(folds)))
