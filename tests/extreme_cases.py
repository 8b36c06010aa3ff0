"""Every family at its extremes: parameters, events, and its law in 50 digits.

One row a family; the first axis of every array counts the extremes. Events are about
three standard deviations from the mean where there is such a thing, so that neither
the density nor its derivatives are 0.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import mp_laws as laws
import numpy as np
import scipy.special


@dataclasses.dataclass(frozen=True)
class Extremes:
    """The leaves of a family's parameters, [N, ...], and N events."""

    law: Callable[..., Any]
    leaves: tuple[np.ndarray, ...]
    x: np.ndarray
    kl: Callable[..., Any] | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, float)[:, None]


def away(mean, deviation, noise=(3.0, -2.0)) -> np.ndarray:
    """Events of so many deviations, in turn, as float32 holds them."""
    return mean + np.resize(noise, len(mean)).reshape(-1, *[1] * (mean.ndim - 1)) * (
        deviation
    )


LARGE = column(1e-3, 1.0, 30.0, 1e3, 1e5, 1e6, 1e6)
COUNTS = column(1e-3, 0.1, 1.0, 30.0, 1e3, 1e5, 1e6, 1e7, 1e7)


def counts(mean, deviation) -> np.ndarray:
    return np.maximum(np.rint(away(mean, deviation)), 0)


def _gamma() -> Extremes:
    log_rate = np.resize([0.7, -5.0, 3.0], LARGE.shape)
    z = np.maximum(away(LARGE, np.sqrt(LARGE)), LARGE / 9) / np.exp(log_rate)
    return Extremes(laws.gamma, (np.log(LARGE), log_rate), z, laws.gamma_kl)


def _shares(a: np.ndarray) -> np.ndarray:
    """Away from the mean of a Dirichlet vector, and no nearer to an end than 1e-6."""
    n = a.sum(-1, keepdims=True)
    pattern = np.resize([2.0, -1.0, -1.0], a.shape[-1])
    z = np.maximum(a + pattern * np.sqrt(a), a / 9) / n
    return np.maximum(z / z.sum(-1, keepdims=True), 1e-6)


def _beta(least: float = 0.0) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    a = np.array(
        [[1e-3, 1e-3], [1, 1e5], [1e6, 10], [1e6, 1e6], [1e5, 0.5], [30, 1e3], [2, 3]]
    )
    z = np.clip(_shares(a)[:, :1], least, 1 - least)
    return (np.log(a[:, :1]), np.log(a[:, 1:])), z


def _dirichlet() -> Extremes:
    a = np.array(
        [[1e5, 1e5, 2e5], [1e3, 2e3, 5e3], [1e6, 1, 1e-2], [1e6, 1e6, 1e6], [0.1, 2, 1]]
    )
    return Extremes(laws.dirichlet, (np.log(a),), _shares(a), laws.dirichlet_kl)


def _negative_binomial() -> Extremes:
    m = column(1e5, 1e5, 1e7, 1e7, 1e3, 5.0, 1e-3, 90.0)
    d = column(1e-6, 1e-12, 1e-7, 1.0, 1e3, 1e-20, 1.0, 1e-4)
    x = counts(m, np.sqrt(m + np.minimum(d, 0.1) * m**2))
    return Extremes(laws.negative_binomial, (np.log(m), np.log(d)), x)


def _multinomial() -> Extremes:
    logits = np.resize([[0.0, 0.0, 0.0, 0.0], [-9, 1, 2, 3], [30, 29, -10, 28]], (6, 4))
    n = column(1.0, 20.0, 1e3, 1e5, 1e6, 1e7)
    mean = n * scipy.special.softmax(logits, -1)
    x = np.maximum(np.rint(mean + np.sqrt(mean) * np.array([1, -1, 1, -1])), 0)
    return Extremes(laws.multinomial, (logits,), x)


SCALES = column(1e-8, 1e-3, 1.0, 1e4, 1e10)
LOCS = column(0.0, 1e3, -1.0, 1e6, 0.0)
NEAR_ZERO = column(0.0, 0.5, -1.0)
NORMAL = (LOCS, np.log(SCALES))
CODES = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
PIXELS = column(0.0, 1.0, 0.2, 100 / 255, 1.0)


def _truncated_normal() -> Extremes:
    loc, scale = column(0.3, 0.3, -1e3, 40.0, 0.0), column(1e-3, 30.0, 1, 0.5, 1e-3)
    z = column(0.3027, 0.8, 2e-3, 0.98, 2e-3)
    leaves = loc, np.log(scale)
    return Extremes(laws.truncated_normal, leaves, z, laws.truncated_normal_kl)


def _full_normal() -> Extremes:
    factor = np.array(
        [
            [[-9, 0], [1e-4, -9]],
            [[9, 0], [1e3, -3]],
            [[0.5, 0], [1e3, 2]],
            [[0, 0], [1, 0]],
        ]
    )
    lower = np.tril(factor, -1) + [np.diag(np.exp(np.diag(f))) for f in factor]
    loc = np.array([[0, 1], [1e4, -1], [3, 3], [0, 0]], float)
    x = loc + lower @ np.array([1.5, -0.5])
    return Extremes(laws.full_normal, (loc, factor), x, laws.full_normal_kl)


def _low_rank_normal() -> Extremes:
    loc = np.array([[0, 1], [1e4, -1], [3, 3]], float)
    log_scale = np.array([[-9, -9], [3, -1], [0, 0]], float)
    factor = np.array([[[1e-2, 1e-3]], [[1, 1e2]], [[1, -2]]])
    x = loc + 2 * factor[:, 0] + np.exp(log_scale)
    settings = {"dim": 2, "rank": 1}
    kl = laws.low_rank_normal_kl
    leaves = loc, log_scale, factor
    return Extremes(laws.low_rank_normal, leaves, x, kl, settings)


def _mixture() -> Extremes:
    logits = np.array([[0.0, 40], [-1, 1], [-1e3, 0]])
    locs = np.array([[[0.0], [1.0]], [[1e3], [1e3 + 0.01]], [[-5], [5]]])
    log_scales = np.array([[[-9.0], [2.0]], [[-7], [-5]], [[12], [1]]])
    settings = {"num_components": 2}
    return Extremes(
        laws.mixture, (logits, locs, log_scales), locs[:, 1] + 1e-3, settings=settings
    )


def _logistics() -> tuple[np.ndarray, np.ndarray]:
    loc = column(0.5, -3.0, 0.199, 0.4, 40.0)
    return loc, np.log(column(1e-4, 1e3, 1e-3, 0.1, 1.0))


def _logistic_mixture() -> Extremes:
    loc, log_scale = _logistics()
    leaves = (
        np.resize([[[-3.0], [3.0]]], (5, 2, 1)),
        np.stack([loc, 1 - loc], 1),
        np.stack([log_scale, log_scale + 1], 1),
    )
    law = laws.mixture_of_discretized_logistics
    return Extremes(law, leaves, PIXELS, settings={"num_components": 2})


def _columns() -> Extremes:
    outputs = np.array(
        [
            [[0.5, 3.0, 0.0, -20.0], [-7.0, 9, 1, 9], [9, 9, 2, 9]],
            [[-1.0, 12.0, -1e4, 1e4], [3.0, 0, 1e4, 0], [0, 0, 1e4, 0]],
        ]
    )
    x = np.array([[2.002, 30, 2, 1], [90, 1.6e5, 1, 0]])
    words = "normal:1:2", "poisson", "categorical:3", "bernoulli"
    return Extremes(laws.columns, (outputs,), x, settings={"columns": words})


def _sphere() -> Extremes:
    log_kappa = np.log([1e-3, 1.0, 1e3, 1e5, 1e6])
    direction = np.resize([[1.0, -2, 0.5, 3], [0, 0, 1e-3, 1e-3]], (5, 4))
    mu = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    z = mu + np.array([1, 1, -1, 0.5]) * np.exp(-log_kappa / 2)[:, None]
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    leaves = direction, log_kappa
    return Extremes(laws.von_mises_fisher, leaves, z, laws.von_mises_fisher_kl)


BITS = column(1.0, 0, 1, 0, 1)
LOGITS = column(-1e6, 1e4, -20.0, 0.3, 1e6)

EXTREMES = {
    "bernoulli": Extremes(laws.bernoulli, (LOGITS,), BITS, laws.bernoulli_kl),
    "beta": Extremes(laws.beta, *_beta(), laws.beta_kl),
    "categorical": Extremes(
        laws.categorical,
        (np.array([[-1e6, 0, 1e6], [0, 1, 2], [80, 80, 80.5], [1e4, 1e4, -1e4]]),),
        CODES,
        laws.categorical_kl,
        {"num_categories": 3},
    ),
    "categorical_levels": Extremes(
        laws.levels_of(3),
        (np.array([[-1e6, 0, 1e6], [0, 1, 2], [80, 80, 80.5]])[:, :, None],),
        column(0.0, 0.5, 1.0),
        settings={"levels": 3},
    ),
    "columns": _columns(),
    "continuous_bernoulli": Extremes(
        laws.continuous_bernoulli,
        (column(1e-30, 0.3, -0.6, 1e2, 1e6, -1e6),),
        column(0.2, 1.0, 0.3, 0.99, 1 - 2e-6, 3e-6),
    ),
    "diagonal_normal": Extremes(
        laws.normal, NORMAL, away(LOCS, SCALES), laws.normal_kl
    ),
    "dirichlet": _dirichlet(),
    "discretized_logistic": Extremes(laws.discretized_logistic, _logistics(), PIXELS),
    "fixed_laplace": Extremes(
        laws.at_scale(laws.laplace, 1e-6),
        (NEAR_ZERO,),
        away(NEAR_ZERO, 1e-6),
        settings={"scale": 1e-6},
    ),
    "fixed_normal": Extremes(
        laws.at_scale(laws.normal, 1e-6),
        (NEAR_ZERO,),
        away(NEAR_ZERO, 1e-6),
        settings={"scale": 1e-6},
    ),
    "floored_normal": Extremes(laws.normal, NORMAL, away(LOCS, SCALES), laws.normal_kl),
    "full_normal": _full_normal(),
    "gamma": _gamma(),
    "laplace": Extremes(laws.laplace, NORMAL, away(LOCS, SCALES)),
    "logit_normal": Extremes(
        laws.logit_normal,
        (column(0.3, -12.0, 5.0, 2.0), np.log(column(1e-3, 1.0, 5.0, 1e-2))),
        scipy.special.expit(column(0.303, -14.0, 12.0, 1.98)),
        laws.normal_kl,
    ),
    "low_rank_normal": _low_rank_normal(),
    "mixture": _mixture(),
    "mixture_of_discretized_logistics": _logistic_mixture(),
    "multinomial": _multinomial(),
    "negative_binomial": _negative_binomial(),
    "optimal_normal": Extremes(
        laws.optimal_normal,
        (np.array([[0.0, 1.0], [1e3, -1e3], [1e-3, 0.2]]),),
        np.array([[1e-2, 1.1], [1e3 + 0.5, -1e3], [1e6, 1e5]]),
    ),
    "pixel_beta": Extremes(laws.pixel_beta, *_beta(0.002)),
    "poisson": Extremes(
        laws.poisson,
        (np.log(COUNTS),),
        counts(COUNTS, np.sqrt(COUNTS)),
        laws.poisson_kl,
    ),
    "shared_normal": Extremes(laws.normal, NORMAL, away(LOCS, SCALES)),
    "truncated_normal": _truncated_normal(),
    "von_mises_fisher": _sphere(),
}
