"""Gradients whose statistics are known, by formulas and quadrature in NumPy alone.

Planted gradients are g = m + s e, the coordinates of e independent and of variance 1:
normal, lognormal or Student's t of 3 degrees of freedom. The target g* lies along the
first coordinate; E g differs from g* by a bias along the second. Then

    E |g_1| / ||g_rest|| = E |g_1| E Q^(-1/2),          Q = sum_{i > 1} g_i^2,
    E g_1 / ||g|| = pi^(-1/2) int_0^inf s^(-1/2) E[g_1 e^(-s g_1^2)] E e^(-s Q) ds,
    E Q^(-1/2)    = pi^(-1/2) int_0^inf s^(-1/2) E e^(-s Q) ds,

and E e^(-s Q) is a product of integrals in one dimension.

Estimators are measured on toys: the gradients in a normal posterior's loc are
polynomials of the noise, or integrals over K = 2 normal variables; the gradients in one
bit's logit are integrals over one uniform variable.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, stats

from vaejax.bounds import beta_elbo, elbo, iwae
from vaejax.core import Batch, Estimator, Example, Key, Objective, Params
from vaejax.estimators import (
    arm,
    dreg,
    gumbel_softmax,
    pathwise,
    score_function,
    stl,
)
from vaejax.models import bernoulli_toy, gaussian_toy
from vaejax.models.gaussian_toy import POSTERIOR_VARIANCE
from vaejax.objective import make_objective

NODES = 20_000  # quadrature nodes over a noise's quantiles
SIGNAL = 0.3  # |g*| of planted gradients, in units of a coordinate's deviation


class Regime(NamedTuple):
    """Gradients of the encoder's parameters, and their true statistics."""

    kind: str
    name: str
    draws: int
    objective: Objective
    params: Params
    batch: Batch
    target: np.ndarray  # g*, flat
    truths: dict[str, float]  # keyed as in `GroupReport`
    reference: Objective | None = None  # draws the reference


Maker = Callable[[int], Regime]  # takes the number of draws


def regimes() -> dict[str, Maker]:
    """The maker of every regime, by name; a regime is made when it is measured."""
    return dict(_all())


def _all() -> Iterator[tuple[str, Maker]]:
    for size in (1, 5, 50):
        for sds in (0, 1, 2, 3, 4):
            name = f"bias of {sds} sd, {size} parameters"
            yield name, _planted("weak bias", name, "normal", size, bias=sds)
        for law in ("lognormal", "t3"):
            for share in (0.1, 1.0):
                name = f"{law}, {share:g} of the draws, {size} parameters"
                yield name, _planted("heavy tails", name, law, size, share=share)
        for few in (10, 16, 40, 200):
            name = f"{few} draws, {size} parameters"
            yield name, _planted("few draws", name, "normal", size, draws=few)
    for size in (5, 50):
        for length in (1, 3, 10):
            name = f"|g|^2 of {length} times its noise, {size} parameters"
            yield name, _planted("weak signal", name, "normal", size, length=length)
    for size in (2, 5, 50):
        for sds in (2, 4, 8):
            for draws in (10, None):
                asked = f", {draws} draws" if draws else ""
                name = f"one main direction, {sds} sd, {size} parameters{asked}"
                yield name, _along_noise(name, size, sds, draws)
    for name, maker in ESTIMATORS.items():
        yield name, maker


# Planted gradients.


class Law(NamedTuple):
    """A noise of mean 0 and variance 1."""

    sample: Callable[[Key, tuple[int, ...]], jax.Array]
    quantile: Callable[[np.ndarray], np.ndarray]


LOGNORMAL_DEVIATION = np.sqrt((np.e - 1) * np.e)


def _t3(normal: jax.Array) -> jax.Array:
    """Student's t of variance 1: t / sqrt(3) = z / sqrt(chi^2), from normal draws."""
    return normal[0] / jnp.linalg.norm(normal[1:], axis=0)


LAWS = {
    "normal": Law(jax.random.normal, stats.norm.ppf),
    "lognormal": Law(
        lambda key, shape: (
            (jnp.exp(jax.random.normal(key, shape)) - np.sqrt(np.e))
            / LOGNORMAL_DEVIATION
        ),
        lambda u: (np.exp(stats.norm.ppf(u)) - np.sqrt(np.e)) / LOGNORMAL_DEVIATION,
    ),
    "t3": Law(
        lambda key, shape: _t3(jax.random.normal(key, (4, *shape))),
        lambda u: stats.t.ppf(u, 3) / np.sqrt(3),
    ),
}


def _planted(
    kind: str,
    name: str,
    law: str,
    size: int,
    *,
    bias: float = 0.0,
    share: float = 1.0,
    draws: int | None = None,
    length: float | None = None,
) -> Maker:
    def make(asked: int) -> Regime:
        n = draws or max(8, round(share * asked / 40) * 40)
        scale = np.geomspace(1.0, 2.0, size)
        trace, trace_square = np.sum(scale**2), np.sum(scale**4)
        target = np.zeros(size)
        target[0] = SIGNAL
        mean = target.copy()
        mean[min(1, size - 1)] += bias * np.sqrt(trace / n)
        if length is not None:  # the cosine is .949
            mean = np.zeros(size)
            mean[:2] = 3, 1
            noise = np.sqrt(2 * trace_square / (n * (n - 1)))
            mean *= np.sqrt(length * noise / (mean @ mean))
            target[0] = mean[0]
        objective, params = planted(law, mean, scale)
        truths = of_moments(mean, scale**2, target)
        truths |= of_draws(LAWS[law], mean, scale)
        batch = Batch(Example(jnp.zeros((1, 1))), jnp.arange(1))
        return Regime(kind, name, n, objective, params, batch, target, truths)

    return make


def _along_noise(name: str, size: int, sds: float, draws: int | None) -> Maker:
    """Noise with one main direction; the mean lies between it and another direction."""

    def make(asked: int) -> Regime:
        n = draws or max(8, round(asked / 40) * 40)
        scale = np.full(size, 0.1)
        scale[0] = 1.0
        mean, target = np.zeros((2, size))
        mean[:2] = sds * np.sqrt(scale @ scale / (2 * n))
        target[:2] = 3 * mean[0], mean[0]
        objective, params = planted("normal", mean, scale)
        truths = of_moments(mean, scale**2, target)
        batch = Batch(Example(jnp.zeros((1, 1))), jnp.arange(1))
        kind = "one direction"
        return Regime(kind, name, n, objective, params, batch, target, truths)

    return make


def planted(law: str, mean: np.ndarray, scale: np.ndarray) -> tuple[Objective, Params]:
    """An objective with the gradient mean + scale * noise, and its parameters."""

    def loss(params: Params, state: Any, key: Key, batch: Batch) -> tuple:
        noise = LAWS[law].sample(key, (mean.size,))
        gradient = jnp.asarray(mean, jnp.float32) + jnp.asarray(scale) * noise
        return params.encoder @ jax.lax.stop_gradient(gradient), (state, {})

    params = Params(encoder=jnp.zeros(mean.size), decoder=(), prior=())
    return Objective(init=lambda key: (params, ()), loss=loss), params


def of_moments(
    mean: np.ndarray, variances: np.ndarray, target: np.ndarray
) -> dict[str, float]:
    """The statistics that follow from the mean and the variances."""
    error, trace = mean - target, variances.sum()
    found = {
        "bias_squared": error @ error,
        "variance": trace,
        "snr": np.mean(np.abs(mean) / np.sqrt(variances)),
        "rms_snr": np.sqrt(np.mean(mean**2 / variances)),
        "norm_snr": np.sqrt(mean @ mean / trace),
    }
    if mean.size > 1:  # one number has a sign, and no direction
        lengths = np.sqrt((mean @ mean) * (target @ target))
        found["cosine"] = mean @ target / lengths
    return found


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


# Estimators on the toy of a normal posterior in one dimension.

X = np.array([0.3, -1.2, 2.0])
WEIGHT, BIAS, LOC = 0.7, -0.2, 0.4
DEVIATION = np.sqrt(POSTERIOR_VARIANCE)
OF_LOC = X + LOC - 2 * (WEIGHT * X + BIAS)  # the ELBO's gradient in the loc

PerObservation = tuple[np.ndarray, np.ndarray]  # mean and variance in the loc


def elbo_pathwise(samples: int) -> PerObservation:
    """d/dloc log w = x + mu - 2 loc - 2 s e, of variance 4 s^2."""
    return OF_LOC, np.full(X.size, 4 * POSTERIOR_VARIANCE / samples)


def elbo_score_function(samples: int) -> PerObservation:
    """The gradient (e / s) (log w - 1), log w a polynomial of e.

    With log w - 1 = a + b e + c e^2, s^2 Var = a^2 + 2 b^2 + 15 c^2 + 6 a c.
    """
    loc = WEIGHT * X + BIAS
    constant = -0.5 * np.log(2 * np.pi) + np.log(DEVIATION) - 1
    a = constant - 0.5 * (X - loc) ** 2 - 0.5 * (loc - LOC) ** 2
    b, c = DEVIATION * OF_LOC, 0.5 - POSTERIOR_VARIANCE
    square = a**2 + 2 * b**2 + 15 * c**2 + 6 * a * c
    return OF_LOC, square / POSTERIOR_VARIANCE / samples


def iwae_of_two(power: int, path_alone: bool) -> PerObservation:
    """sum_k w~_k^power d_k by quadrature over both samples' noise.

    d is the derivative of log w in the loc; along the path alone, d omits the
    derivative of the density log q, which is (z - loc) / s^2.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    noise = np.stack(np.meshgrid(nodes, nodes, indexing="ij"))[:, None]  # [2, 1, n, n]
    loc = (WEIGHT * X + BIAS)[:, None, None]
    z = loc + DEVIATION * noise
    x = X[:, None, None]
    log_w = -0.5 * (x - z) ** 2 - 0.5 * (z - LOC) ** 2 + 0.5 * noise**2
    share = 1 / (1 + np.exp(log_w[::-1] - log_w))
    slope = x + LOC - 2 * z + path_alone * noise / DEVIATION
    gradient = np.sum(share**power * slope, axis=0)  # [observations, n, n]
    mean = gradient @ weights @ weights
    return mean, gradient**2 @ weights @ weights - mean**2


def _gaussian(
    estimator: Estimator,
    law: PerObservation,
    *,
    truth: np.ndarray = OF_LOC,
    drawn: bool = False,
) -> Callable[[str], Maker]:
    """A regime of the toy: the loc's derivatives in its bias and weight are 1 and x."""

    def make(name: str, draws: int) -> Regime:
        bound = elbo() if truth is OF_LOC else iwae()
        design = np.stack([np.ones(X.size), X])  # in the order of the leaves
        mean, variance = law
        of_mean, target = -(design @ mean) / X.size, -(design @ truth) / X.size
        objective = make_objective(
            gaussian_toy((1,)),
            bound,
            estimator,
            num_samples=2,
            allow_bias=True,
        )
        params = Params(
            encoder={"bias": jnp.array([BIAS]), "weight": jnp.array([[WEIGHT]])},
            decoder=(),
            prior={"loc": jnp.array([LOC])},
        )
        batch = Batch(Example(jnp.asarray(X[:, None], jnp.float32)), jnp.arange(X.size))
        truths = of_moments(of_mean, design**2 @ variance / X.size**2, target)
        return Regime(
            *("estimators", name, draws, objective, params, batch, target, truths),
            reference=objective if drawn else None,
        )

    return lambda name: partial(make, name)


# Estimators on the toy of one bit, whose cost is (b - t)^2.

LOGIT, T = 0.8, 0.3
P = 1 / (1 + np.exp(-LOGIT))
UNIFORM = (np.arange(200_000) + 0.5) / 200_000


def relaxed(temperature: float) -> np.ndarray:
    """The gradient of the relaxed cost at every u of the quadrature.

    (z - t)^2,    z = sigmoid((logit + log u / (1 - u)) / temperature)
    """
    z = 1 / (1 + np.exp(-(LOGIT + np.log(UNIFORM / (1 - UNIFORM))) / temperature))
    return 2 * (z - T) * z * (1 - z) / temperature


def antithetic() -> np.ndarray:
    """ARM's (f(b) - f(b~)) (u - 1/2) at every u of the quadrature.

    The value is (1 - 2 t) |1/2 - u| where the bits of u and 1 - u differ, for u below
    min(p, 1 - p) or above its complement, and 0 elsewhere.
    """
    least = min(P, 1 - P)
    differ = (least > UNIFORM) | (1 - least < UNIFORM)
    return differ * (1 - 2 * T) * np.abs(0.5 - UNIFORM)


def _bit(
    estimator: Estimator, gradient: np.ndarray, **known: float
) -> Callable[[str], Maker]:
    def make(name: str, draws: int) -> Regime:
        objective = make_objective(
            bernoulli_toy(), beta_elbo(0.0), estimator, num_samples=1, allow_bias=True
        )
        params = Params(encoder={"logits": jnp.array([LOGIT])}, decoder=(), prior=())
        batch = Batch(Example(jnp.array([[T]])), jnp.arange(1))
        target = np.array([(1 - 2 * T) * P * (1 - P)])
        mean, variance = np.array([gradient.mean()]), np.array([gradient.var()])
        truths = of_moments(mean, variance, target) | known
        return Regime(
            *("estimators", name, draws, objective, params, batch, target, truths)
        )

    return lambda name: partial(make, name)


def _weakly_biased(sds: float) -> Callable[[str], Maker]:
    """Gumbel-softmax at the temperature whose bias is `sds` sd of the mean.

    The bias changes sign near a temperature of 1.06; above, it outgrows every spread.
    """

    def make(name: str, draws: int) -> Regime:
        def bias(temperature: float) -> float:
            return relaxed(temperature).mean() - (1 - 2 * T) * P * (1 - P)

        def lacking(temperature: float) -> float:
            spread = relaxed(temperature).std() / np.sqrt(draws)
            return bias(temperature) + sds * spread

        found = optimize.brentq(lacking, optimize.brentq(bias, 0.5, 2.0), 1000.0)
        return _bit(gumbel_softmax(temperature=found), relaxed(found))(name)(draws)

    return lambda name: partial(make, name)


IWAE = iwae_of_two(1, path_alone=False)[0]  # the mean of any unbiased estimator
ESTIMATORS: dict[str, Maker] = {
    name: maker(name)
    for name, maker in {
        "pathwise, elbo": _gaussian(pathwise(), elbo_pathwise(2)),
        "score_function, elbo": _gaussian(score_function(), elbo_score_function(2)),
        "pathwise, iwae": _gaussian(pathwise(), iwae_of_two(1, False), truth=IWAE),
        "dreg, iwae": _gaussian(dreg(), iwae_of_two(2, True), truth=IWAE),
        "dreg, iwae, drawn reference": _gaussian(
            dreg(), iwae_of_two(2, True), truth=IWAE, drawn=True
        ),
        "stl, iwae": _gaussian(stl(), iwae_of_two(1, True), truth=IWAE),
        "arm": _bit(arm(), antithetic(), draw_cosine=2 * min(P, 1 - P)),
        "gumbel_softmax, bias of 2.5 sd": _weakly_biased(2.5),
    }.items()
}
