"""Every family's parameters for the tests, and an independent twin out of scipy."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats

from vaejax.core import Family
from vaejax.families import (
    FAMILIES,
    BetaParams,
    FullNormalParams,
    GammaParams,
    LowRankNormalParams,
    MixtureParams,
    NormalParams,
    VonMisesFisherParams,
)

NORMAL = NormalParams(jnp.array([0.3, -1.2, 2.0]), jnp.array([-0.7, 0.0, 0.9]))
LOGITS = jnp.array([-1.5, 0.2, 3.0])
DRAWS = 20_000


@dataclasses.dataclass(frozen=True)
class Case:
    """A family's parameters of three coordinates, others, and its twin in scipy.

    A `joint` family's coordinates depend on each other; its twin answers for all.
    """

    params: Any
    others: Any
    twin: Callable[[Any], Any]
    discrete: bool = False
    joint: bool = False
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    # Means that a network's outputs are asked for.
    means: Any = (0.05, 0.5, 0.98)

    def family(self, name: str) -> Family:
        return FAMILIES[name](**self.settings)


def floats(params: Any) -> list[np.ndarray]:
    return [np.asarray(leaf, float) for leaf in jax.tree.leaves(params)]


def normal_twin(params):
    loc, log_scale = floats(params)
    return scipy.stats.norm(loc, np.exp(log_scale))


def truncated_twin(params):
    loc, log_scale = floats(params)
    scale = np.exp(log_scale)
    return scipy.stats.truncnorm(-loc / scale, (1 - loc) / scale, loc, scale)


class LogitNormalTwin:
    def __init__(self, params):
        self.normal = normal_twin(params)

    def logpdf(self, z):
        return self.normal.logpdf(scipy.special.logit(z)) - np.log(z) - np.log1p(-z)

    def cdf(self, z):
        return self.normal.cdf(scipy.special.logit(z))

    def mean(self):
        u = np.linspace(0, 1, 400_001)[1:-1, None]
        return scipy.special.expit(self.normal.ppf(u)).mean(0)


class OneHotTwin:
    def __init__(self, logits):
        self.p = scipy.special.softmax(np.asarray(logits, float), -1)

    def logpmf(self, x):
        return scipy.stats.multinomial(1, self.p).logpmf(x)

    def mean(self):
        return self.p


class CorrelatedTwin:
    def __init__(self, loc, covariance):
        self.loc, self.covariance = loc, covariance

    def logpdf(self, z):
        twin = scipy.stats.multivariate_normal(self.loc, self.covariance)
        return twin.logpdf(z)[:, None]

    def cdf(self, z):
        """Of the coordinates, and of their differences, which see the covariance."""
        away = z - self.loc
        both = np.concatenate([away, np.diff(away)], -1)
        change = np.concatenate([np.eye(3), np.diff(np.eye(3), axis=0)])
        scale = np.sqrt(np.diag(change @ self.covariance @ change.T))
        return scipy.stats.norm.cdf(both / scale)

    def mean(self):
        return self.loc


class MixtureTwin:
    """Of independent normal variables, in 3 dimensions."""

    def __init__(self, params):
        self.weights = scipy.special.softmax(np.asarray(params.log_weights, float))
        self.loc, log_scale = floats(params.components)
        self.scale = np.exp(log_scale)

    def logpdf(self, z):
        away = (z[:, None] - self.loc) / self.scale
        density = (scipy.stats.norm.pdf(away) / self.scale).prod(-1)
        return np.log(density @ self.weights)[:, None]

    def cdf(self, z):
        """Of the coordinates, and of their differences, which see the components."""
        both = np.concatenate([z, np.diff(z)], -1)
        loc = np.concatenate([self.loc, np.diff(self.loc)], -1)
        pairs = np.hypot(self.scale[:, 1:], self.scale[:, :-1])
        scale = np.concatenate([self.scale, pairs], -1)
        return self.weights @ scipy.stats.norm.cdf((both[:, None] - loc) / scale)

    def mean(self):
        return self.weights @ self.loc


def full_normal_twin(params):
    loc, factor = floats(params)
    lower = np.tril(factor, -1) + np.diag(np.exp(np.diag(factor)))
    return CorrelatedTwin(loc, lower @ lower.T)


def low_rank_twin(params):
    loc, log_scale, factor = floats(params)
    return CorrelatedTwin(loc, np.diag(np.exp(2 * log_scale)) + factor.T @ factor)


class DirichletTwin:
    def __init__(self, params):
        self.a = np.exp(np.asarray(params, float))

    def logpdf(self, z):
        z = z / z.sum(-1, keepdims=True)  # scipy refuses float32's sums
        return scipy.stats.dirichlet(self.a).logpdf(z.T)[:, None]

    def cdf(self, z):
        """Of the coordinates, and of the first's share in two of them."""
        marginals = scipy.stats.beta(self.a, self.a.sum() - self.a).cdf(z)
        share = z[:, 0] / (z[:, 0] + z[:, 1])
        ratio = scipy.stats.beta(self.a[0], self.a[1]).cdf(share)
        return np.concatenate([marginals, ratio[:, None]], -1)

    def mean(self):
        return self.a / self.a.sum()


class SphereTwin:
    def __init__(self, params):
        direction, log_kappa = floats(params)
        self.mu, self.kappa = direction / np.linalg.norm(direction), np.exp(log_kappa)

    def logpdf(self, z):
        return scipy.stats.vonmises_fisher(self.mu, self.kappa).logpdf(
            z / np.linalg.norm(z, axis=-1, keepdims=True)
        )[:, None]

    def cdf(self, z):
        """Of w = mu'z, closed in three dimensions, and of the angle around mu."""
        k, w = self.kappa, z @ self.mu
        of_w = (np.exp(k * (w - 1)) - np.exp(-2 * k)) / -np.expm1(-2 * k)
        one = np.cross(self.mu, [0.0, 0.0, 1.0])
        one /= np.linalg.norm(one)
        angle = np.arctan2(z @ np.cross(self.mu, one), z @ one)
        return np.stack([of_w, (angle / np.pi + 1) / 2], -1)

    def mean(self):
        return (1 / np.tanh(self.kappa) - 1 / self.kappa) * self.mu


def exp_twin(distribution: Any) -> Callable[[Any], Any]:
    """The twin whose parameters are the exponentials of ours."""
    return lambda params: distribution(*np.exp(floats(params)))


CASES = {
    "bernoulli": Case(
        LOGITS,
        -0.5 * LOGITS,
        lambda logits: scipy.stats.bernoulli(
            scipy.special.expit(np.asarray(logits, float))
        ),
        discrete=True,
    ),
    "beta": Case(
        BetaParams(jnp.array([-0.7, 0.3, 2.0]), jnp.array([0.5, -0.4, 1.0])),
        BetaParams(jnp.array([0.3, 1.0, 1.0]), jnp.array([0.0, 0.2, 1.3])),
        exp_twin(scipy.stats.beta),
    ),
    "categorical": Case(
        jnp.array([[-1.5, 0.2, 1.0], [0.5, 0.0, -0.4]]),
        jnp.array([[0.5, 0.0, -2.0], [-0.8, 0.4, 1.2]]),
        OneHotTwin,
        discrete=True,
        joint=True,
        settings={"num_categories": 3},
        means=((0.2, 0.5, 0.3), (0.05, 0.9, 0.05)),
    ),
    "diagonal_normal": Case(
        NORMAL, NormalParams(NORMAL.loc - 0.4, NORMAL.log_scale * -0.5), normal_twin
    ),
    "dirichlet": Case(
        jnp.array([-0.9, 0.3, 1.5]),
        jnp.array([0.8, -0.2, 0.6]),
        DirichletTwin,
        joint=True,
        means=(0.05, 0.75, 0.2),
    ),
    "fixed_normal": Case(
        NORMAL.loc,
        NORMAL.loc - 0.4,
        lambda loc: scipy.stats.norm(np.asarray(loc, float), 0.1),  # its default
    ),
    "full_normal": Case(
        FullNormalParams(
            NORMAL.loc, jnp.array([[-0.5, 9.0, 9.0], [0.8, 0.2, 9.0], [-0.6, 0.4, 0.3]])
        ),
        FullNormalParams(NORMAL.loc + 0.3, 0.3 * jnp.ones((3, 3))),
        full_normal_twin,
        joint=True,
        settings={"dim": 3},
    ),
    "gamma": Case(
        GammaParams(jnp.array([-0.7, 0.3, 2.0]), jnp.array([0.5, 0.0, -1.0])),
        GammaParams(jnp.array([0.3, -0.4, 1.0]), jnp.array([0.0, 0.5, -0.7])),
        lambda params: scipy.stats.gamma(
            np.exp(floats(params)[0]), scale=np.exp(-floats(params)[1])
        ),
    ),
    "logit_normal": Case(
        NORMAL,
        NormalParams(NORMAL.loc - 0.4, NORMAL.log_scale * -0.5),
        LogitNormalTwin,
    ),
    "mixture": Case(
        MixtureParams(
            jnp.array([0.4, -0.6]),
            NormalParams(
                jnp.stack([NORMAL.loc, 1.5 - NORMAL.loc]),
                jnp.stack([NORMAL.log_scale, -0.8 * NORMAL.log_scale]),
            ),
        ),
        MixtureParams(
            jnp.array([-1.4, 0.3]),
            NormalParams(
                jnp.stack([NORMAL.loc, 1.5 - NORMAL.loc]),
                jnp.stack([NORMAL.log_scale, -0.8 * NORMAL.log_scale]),
            ),
        ),
        MixtureTwin,
        joint=True,
        settings={"num_components": 2},
    ),
    "low_rank_normal": Case(
        LowRankNormalParams(*NORMAL, jnp.array([[0.9, -0.5, 2.0], [-1.1, 0.4, 0.7]])),
        LowRankNormalParams(
            NORMAL.loc + 0.3, NORMAL.log_scale - 0.4, 0.6 * jnp.ones((2, 3))
        ),
        low_rank_twin,
        joint=True,
        settings={"dim": 3, "rank": 2},
    ),
    "poisson": Case(
        jnp.array([-0.8, 0.7, 2.7]),
        jnp.array([0.2, 0.2, 2.2]),
        exp_twin(scipy.stats.poisson),
        discrete=True,
    ),
    "truncated_normal": Case(
        NormalParams(jnp.array([0.3, -1.2, 2.0]), jnp.array([-2.0, -0.5, 0.5])),
        NormalParams(jnp.array([0.5, 0.4, -1.0]), jnp.array([-1.0, -0.5, 0.1])),
        truncated_twin,
    ),
    "von_mises_fisher": Case(
        VonMisesFisherParams(jnp.array([0.6, -1.4, 0.9]), jnp.array(1.1)),
        VonMisesFisherParams(jnp.array([1.2, 0.3, -0.2]), jnp.array(0.2)),
        SphereTwin,
        joint=True,
        means=(0.3, -0.6, 0.1),
    ),
}

# The same distribution by other parameters.
CASES["floored_normal"] = CASES["diagonal_normal"]


def with_capability(*fields: str) -> list[str]:
    """The families with a case that have all of them."""
    return [
        name
        for name in CASES
        if all(getattr(FAMILIES[name](), field) is not None for field in fields)
    ]


def draw(name: str, draws: int = DRAWS, seed: int = 0) -> jax.Array:
    keys = jax.random.split(jax.random.key(seed), draws)
    case = CASES[name]
    sample = jax.jit(jax.vmap(case.family(name).sample, in_axes=(0, None)))
    return sample(keys, case.params)
