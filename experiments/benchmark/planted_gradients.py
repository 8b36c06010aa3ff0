"""Planted gradients, whose statistics are known by quadrature in NumPy alone.

A gradient is g = m + s e, the coordinates of e independent and of variance 1: normal,
lognormal or Student's t of 3 degrees of freedom. The target g* lies along the first
coordinate; E g differs from g* by a bias along the second. Then

    E |g_1| / ||g_rest|| = E |g_1| E Q^(-1/2),          Q = sum_{i > 1} g_i^2,
    E g_1 / ||g|| = pi^(-1/2) int_0^inf s^(-1/2) E[g_1 e^(-s g_1^2)] E e^(-s Q) ds,
    E Q^(-1/2)    = pi^(-1/2) int_0^inf s^(-1/2) E e^(-s Q) ds,

and E e^(-s Q) is a product of integrals in one dimension.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, stats

from experiments.benchmark.known_gradients import Regime, of_moments
from vaejax.core import Batch, Example, Key, Objective, Params

NODES = 20_000  # quadrature nodes over a noise's quantiles
SIGNAL = 0.3  # |g*|, in units of a coordinate's deviation


@dataclasses.dataclass(frozen=True)
class Planted:
    """Gradients with a bias, tails, a number of draws or a signal of choice."""

    kind: str
    name: str
    size: int  # number of parameters
    law: str = "normal"
    _: dataclasses.KW_ONLY
    bias: float = 0.0  # in standard errors of the mean gradient
    share: float = 1.0  # of the draws that are asked for
    draws: int | None = None  # in the place of these
    length: float | None = None  # of the squared mean, in units of its noise

    def make(self, asked: int) -> Regime:
        """The regime; its number of draws can be split into folds."""
        n = self.draws or _divisible(self.share * asked)
        scale = np.geomspace(1.0, 2.0, self.size)
        trace, trace_square = np.sum(scale**2), np.sum(scale**4)
        target = np.zeros(self.size)
        target[0] = SIGNAL
        mean = target.copy()
        mean[min(1, self.size - 1)] += self.bias * np.sqrt(trace / n)
        if self.length is not None:  # the cosine is .949
            mean = np.zeros(self.size)
            mean[:2] = 3, 1
            noise = np.sqrt(2 * trace_square / (n * (n - 1)))
            mean *= np.sqrt(self.length * noise / (mean @ mean))
            target[0] = mean[0]
        of_single_draws = of_draws(LAWS[self.law], mean, scale)
        regime = _regime(self.kind, self.name, n, self.law, mean, scale, target)
        return regime._replace(truths=regime.truths | of_single_draws)


@dataclasses.dataclass(frozen=True)
class AlongNoise:
    """Noise with one main direction; the mean lies between it and another direction."""

    name: str
    size: int
    sds: float  # length of the mean, in standard errors
    draws: int | None

    def make(self, asked: int) -> Regime:
        """The regime; its number of draws can be split into folds."""
        n = self.draws or _divisible(asked)
        scale = np.full(self.size, 0.1)
        scale[0] = 1.0
        mean, target = np.zeros((2, self.size))
        mean[:2] = self.sds * np.sqrt(scale @ scale / (2 * n))
        target[:2] = 3 * mean[0], mean[0]
        return _regime("one direction", self.name, n, "normal", mean, scale, target)


def _divisible(draws: float) -> int:
    return max(8, round(draws / 40) * 40)


def _regime(
    kind: str,
    name: str,
    draws: int,
    law: str,
    mean: np.ndarray,
    scale: np.ndarray,
    target: np.ndarray,
) -> Regime:
    """Gradients mean + scale * noise of the encoder's parameters."""

    def loss(params: Params, state: Any, key: Key, batch: Batch) -> tuple:
        noise = LAWS[law].sample(key, (mean.size,))
        gradient = jnp.asarray(mean, jnp.float32) + jnp.asarray(scale) * noise
        return params.encoder @ jax.lax.stop_gradient(gradient), (state, {})

    params = Params(encoder=jnp.zeros(mean.size), decoder=(), prior=())
    objective = Objective(init=lambda key: (params, ()), loss=loss)
    batch = Batch(Example(jnp.zeros((1, 1))), jnp.arange(1))
    truths = of_moments(mean, scale**2, target)
    return Regime(kind, name, draws, objective, params, batch, target, truths)


class Law(NamedTuple):
    """A noise of mean 0 and variance 1."""

    sample: Callable[[Key, tuple[int, ...]], jax.Array]
    quantile: Callable[[np.ndarray], np.ndarray]


LOGNORMAL_DEVIATION = np.sqrt((np.e - 1) * np.e)


def _lognormal(key: Key, shape: tuple[int, ...]) -> jax.Array:
    draws = jnp.exp(jax.random.normal(key, shape))
    return (draws - np.sqrt(np.e)) / LOGNORMAL_DEVIATION


def _lognormal_quantile(u: np.ndarray) -> np.ndarray:
    return (np.exp(stats.norm.ppf(u)) - np.sqrt(np.e)) / LOGNORMAL_DEVIATION


def _t3(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Student's t of variance 1: t / sqrt(3) = z / sqrt(chi^2), from normal draws."""
    normal = jax.random.normal(key, (4, *shape))
    return normal[0] / jnp.linalg.norm(normal[1:], axis=0)


def _t3_quantile(u: np.ndarray) -> np.ndarray:
    return stats.t.ppf(u, 3) / np.sqrt(3)


LAWS = {
    "normal": Law(jax.random.normal, stats.norm.ppf),
    "lognormal": Law(_lognormal, _lognormal_quantile),
    "t3": Law(_t3, _t3_quantile),
}


def of_draws(law: Law, mean: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """The statistics of single draws against a target along the first coordinate."""
    noise = law.quantile((np.arange(NODES) + 0.5) / NODES)
    first = mean[0] + scale[0] * noise
    if mean.size == 1:  # the share of positive draws, by bisection on the quantiles
        zero = optimize.brentq(lambda u: mean[0] + scale[0] * law.quantile(u), 1e-12, 1)
        return {"draw_cosine": 1 - 2 * zero}
    s = np.exp(np.linspace(np.log(1e-12), np.log(1e6), 500))
    along, rest = np.empty(s.size), np.zeros(s.size)
    for at, rate in enumerate(s):
        weight = np.exp(-rate * first**2)
        along[at] = np.mean(first * weight)
        others = (mean[1:, None] + scale[1:, None] * noise[::10]) ** 2
        rest[at] = np.log(np.exp(-rate * others).mean(1)).sum()
    measure = np.sqrt(s / np.pi) * (np.log(s[1]) - np.log(s[0]))
    found = {"draw_cosine": np.sum(measure * along * np.exp(rest))}
    if mean.size > 3:  # else 1 / ||g_rest|| has no variance
        inverse = np.sum(measure * np.exp(rest))
        found["directional_snr"] = np.mean(np.abs(first)) * inverse
    return found
