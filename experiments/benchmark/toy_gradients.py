"""Estimators on toys, whose gradients have known statistics.

The gradients in a normal posterior's loc are polynomials of the noise, or integrals
over K = 2 normal variables; the gradients in one bit's logit are integrals over one
uniform variable.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
from scipy import optimize

from experiments.benchmark.known_gradients import Maker, Regime, of_moments
from vaejax.bounds import beta_elbo, elbo, iwae
from vaejax.core import Batch, Estimator, Example, Params
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


def on_toys() -> dict[str, Maker]:
    """The maker of the regime of every estimator, by name."""
    in_pathwise, in_dreg = iwae_of_two(1, False), iwae_of_two(2, True)
    # The mean of any unbiased estimator.
    of_iwae = partial(_normal, truth=in_pathwise[0])
    weakly_biased = partial(_weakly_biased, sds=2.5)
    makers = {
        "pathwise, elbo": partial(_normal, pathwise(), elbo_pathwise(2)),
        "score_function, elbo": partial(
            _normal, score_function(), elbo_score_function(2)
        ),
        "pathwise, iwae": partial(of_iwae, pathwise(), in_pathwise),
        "dreg, iwae": partial(of_iwae, dreg(), in_dreg),
        "dreg, iwae, drawn reference": partial(of_iwae, dreg(), in_dreg, drawn=True),
        "stl, iwae": partial(of_iwae, stl(), iwae_of_two(1, True)),
        "arm": partial(_bit, arm(), antithetic(), known={"draw_cosine": 2 * LEAST}),
        "gumbel_softmax, bias of 2.5 sd": weakly_biased,
    }
    return {name: partial(maker, name=name) for name, maker in makers.items()}


# The toy of a normal posterior in one dimension.

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


def _normal(
    estimator: Estimator,
    law: PerObservation,
    draws: int,
    *,
    name: str,
    truth: np.ndarray = OF_LOC,
    drawn: bool = False,
) -> Regime:
    """The loc's derivatives in its bias and weight are 1 and x."""
    design = np.stack([np.ones(X.size), X])  # in the order of the leaves
    mean, variance = law
    of_mean, target = -(design @ mean) / X.size, -(design @ truth) / X.size
    objective = make_objective(
        gaussian_toy((1,)),
        elbo() if truth is OF_LOC else iwae(),
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


# The toy of one bit, whose cost is (b - t)^2.

LOGIT, T = 0.8, 0.3
P = 1 / (1 + np.exp(-LOGIT))
LEAST = min(P, 1 - P)
OF_LOGIT = (1 - 2 * T) * P * (1 - P)  # the true gradient
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
    differ = (LEAST > UNIFORM) | (1 - LEAST < UNIFORM)
    return differ * (1 - 2 * T) * np.abs(0.5 - UNIFORM)


def _bit(
    estimator: Estimator,
    gradient: np.ndarray,
    draws: int,
    *,
    name: str,
    known: Mapping[str, float] = MappingProxyType({}),
) -> Regime:
    objective = make_objective(
        bernoulli_toy(), beta_elbo(0.0), estimator, num_samples=1, allow_bias=True
    )
    params = Params(encoder={"logits": jnp.array([LOGIT])}, decoder=(), prior=())
    batch = Batch(Example(jnp.array([[T]])), jnp.arange(1))
    target = np.array([OF_LOGIT])
    mean, variance = np.array([gradient.mean()]), np.array([gradient.var()])
    truths = {**of_moments(mean, variance, target), **known}
    return Regime(
        *("estimators", name, draws, objective, params, batch, target, truths)
    )


def _weakly_biased(draws: int, *, name: str, sds: float) -> Regime:
    """Gumbel-softmax at the temperature whose bias is `sds` sd of the mean.

    The bias changes sign near a temperature of 1.06; above, it outgrows every spread.
    """

    def bias(temperature: float) -> float:
        return relaxed(temperature).mean() - OF_LOGIT

    def lacking(temperature: float) -> float:
        spread = relaxed(temperature).std() / np.sqrt(draws)
        return bias(temperature) + sds * spread

    found = optimize.brentq(lacking, optimize.brentq(bias, 0.5, 2.0), 1000.0)
    return _bit(gumbel_softmax(temperature=found), relaxed(found), draws, name=name)
