"""A ranking of gradients by their signal, with its uncertainty.

A draw g is split along the true gradient and across it. The mean of n independent,
unbiased gradients has the same E g_par, while E ||g_orth||^2 falls as 1 / n, so that

    S = E g_par / sqrt(E ||g_orth||^2)

grows as sqrt(n) exactly. In t seconds of steps that take s each, n = t / s, S becomes
sqrt(t) S / sqrt(s): gradients of different cost are compared by S / sqrt(s).
The directional SNR of one step, E ||g_par|| / ||g_orth|| (Rainforth et al. 2018,
arXiv:1802.04537), follows that law where it is far above its noise floor, which is
about sqrt(2 / (pi P)) in P dimensions; below, cheap noise would win.

For the uncertainty, the folds of the draws are resampled (Efron 1979), the same folds
for all candidates, because these share observations and keys, and the times are moved
by their standard errors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vaejax.benchmark.direction import along_and_across
from vaejax.benchmark.moments import Moments, groups
from vaejax.core import Params, VaejaxError

RESAMPLES = 10_000
LEVEL = 0.05  # chance that the truly best candidate is reported behind
SURE = 1 - LEVEL  # least chance of being the best that makes a winner


class Measured(NamedTuple):
    """A candidate's folds, one pass of draws after the other, and the time of a step.

    The columns of `folds` [passes * F, 3] are the means of g_par, ||g_orth||^2 and
    |g_par| / ||g_orth||.
    """

    folds: np.ndarray
    seconds: float
    seconds_stderr: float


class Comparison(NamedTuple):
    """A statistic of all candidates, the larger the better; arrays are [candidates]."""

    value: np.ndarray
    stderr: np.ndarray
    chance: np.ndarray  # probability that a candidate is the best
    best: int
    tied: np.ndarray  # True if indistinguishable from the best, itself included


class Ranking(NamedTuple):
    """The comparisons of the candidates."""

    per_second: Comparison  # S / sqrt(seconds)
    per_step: Comparison  # the directional SNR of one step


def signal_of_folds(
    moments: Moments, direction: Params, group: str, folds: int
) -> np.ndarray:
    """The rows of `Measured.folds` that a pass of draws gives.

    Args:
        moments: with products and squared norms.
        direction: the true gradient that they were held against.
        group: of parameters; or all, but those of the estimator itself.
        folds: as many rows.

    Raises:
        VaejaxError: no such group, or a true gradient that is zero, or of one number.
    """
    target = groups(direction)
    names = [name for name in target if name != "auxiliary"]
    if group != "all" and group not in names:
        raise VaejaxError(
            f"unknown group {group!r}: use all, or one of {', '.join(names)}"
        )
    chosen = names if group == "all" else [group]
    products, squared_norms = (
        np.concatenate([groups(tree, lead=1)[name] for name in chosen], axis=1)
        for tree in (moments.products, moments.squared_norms)
    )
    whole = np.concatenate([target[name] for name in chosen])
    if whole.size == 1:
        raise VaejaxError(
            f"the gradient of {group} is one number, across which there is no noise: "
            "use another group, or all"
        )
    along, across = along_and_across(products, squared_norms, whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = np.stack([along, across**2, np.abs(along) / across], axis=1)
    if np.isnan(columns).any():
        raise VaejaxError(
            f"the gradient of {group} is zero or not finite, and has no direction: use "
            "other parameters or another group"
        )
    return columns.reshape(folds, -1, 3).mean(1)


def rank(
    candidates: Sequence[Measured],
    eligible: Sequence[bool],
    folds: int,
    rng: np.random.Generator,
    *,
    looks: int = 1,
) -> Ranking:
    """Compare candidates, some of which may have had fewer passes of `folds` folds.

    The best candidate and those tied with it are eligible ones. With probability 95%
    the truly best candidate is among these in all `looks` rankings together
    (Hsu 1981, comparisons with the best; Bonferroni over the others and the looks).
    """
    passes = max(len(found.folds) for found in candidates) // folds
    counts = rng.multinomial(folds, np.full(folds, 1 / folds), (RESAMPLES, passes))
    weights = np.concatenate(
        [np.ones((1, passes * folds)), counts.reshape(RESAMPLES, -1)]
    )  # folds as drawn, then resampled
    per_second, per_step = [], []
    for found in candidates:
        rows = found.folds
        along, squared, one_step = (weights[:, : len(rows)] @ rows / len(rows)).T
        moves = rng.standard_normal(len(weights)) * found.seconds_stderr
        moves[0] = 0
        seconds = found.seconds * np.exp(moves / found.seconds)
        with np.errstate(divide="ignore"):
            per_second.append(along / np.sqrt(squared * seconds))
        per_step.append(one_step)
    may_win = np.asarray(eligible)
    level = LEVEL / looks / max(1, may_win.sum() - 1)
    return Ranking(
        *(_compare(np.stack(v, 1), may_win, level) for v in (per_second, per_step))
    )


def _compare(values: np.ndarray, eligible: np.ndarray, level: float) -> Comparison:
    """Compare [1 + resamples, candidates] values, whose row 0 is as measured."""
    resampled = values[1:]
    best = int(np.where(eligible, values[0], -np.inf).argmax())
    rivals = np.where(eligible, resampled, -np.inf)
    first = rivals == rivals.max(1, keepdims=True)
    ahead = (rivals >= rivals[:, [best]]).mean(0)
    with np.errstate(invalid="ignore"):  # infinities have no spread
        stderr = resampled.std(0)
    return Comparison(
        value=values[0],
        stderr=stderr,
        chance=(first / first.sum(1, keepdims=True)).mean(0),
        best=best,
        tied=ahead > level,
    )
