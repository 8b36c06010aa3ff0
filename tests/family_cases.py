"""Every family's parameters for the tests, each with its twin."""

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from family_twins import (
    LEVELS,
    ContinuousBernoulliTwin,
    DirichletTwin,
    LevelsTwin,
    LogitNormalTwin,
    MixtureTwin,
    MultinomialTwin,
    OneHotTwin,
    SphereTwin,
    exp_twin,
    floats,
    full_normal_twin,
    logistic_levels,
    low_rank_twin,
    mixture_twin,
    negative_binomial_twin,
    normal_twin,
    pixel_beta_twin,
    truncated_twin,
)

from vaejax.core import Family
from vaejax.families import (
    FAMILIES,
    BetaParams,
    FullNormalParams,
    GammaParams,
    LaplaceParams,
    LogisticMixtureParams,
    LogisticParams,
    LowRankNormalParams,
    MixtureParams,
    NegativeBinomialParams,
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
    unit: float = 1.0  # between the outcomes of a discrete family
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    # Means that a network's outputs are asked for.
    means: Any = (0.05, 0.5, 0.98)

    def family(self, name: str) -> Family:
        return FAMILIES[name](**self.settings)


LOGISTIC = LogisticParams(jnp.array([0.1, 0.5, 0.9]), jnp.array([-2.0, -3.0, -1.0]))
LOGISTIC_MIXTURE = LogisticMixtureParams(
    jnp.array([[0.3, -0.8, 0.0], [0.0, 0.5, 1.2]]),
    jnp.array([[0.1, 0.5, 0.9], [0.7, 0.2, 0.4]]),
    jnp.array([[-2.0, -3.0, -1.0], [-1.5, -4.0, -2.5]]),
)
LEVEL_LOGITS = jnp.outer(jnp.linspace(-1, 1, LEVELS) ** 3, jnp.array([1.0, -2.0, 0.5]))

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
    "categorical_levels": Case(
        LEVEL_LOGITS,
        LEVEL_LOGITS[::-1],
        lambda logits: LevelsTwin(scipy.special.softmax(np.asarray(logits, float), 0)),
        discrete=True,
        unit=1 / (LEVELS - 1),
        settings={"levels": LEVELS},
    ),
    "continuous_bernoulli": Case(LOGITS, -0.5 * LOGITS, ContinuousBernoulliTwin),
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
    "discretized_logistic": Case(
        LOGISTIC,
        LogisticParams(LOGISTIC.loc - 0.2, LOGISTIC.log_scale),
        lambda params: LevelsTwin(logistic_levels(*floats(params))),
        discrete=True,
        unit=1 / (LEVELS - 1),
        settings={"levels": LEVELS},
    ),
    "fixed_laplace": Case(
        NORMAL.loc,
        NORMAL.loc - 0.4,
        lambda loc: scipy.stats.laplace(np.asarray(loc, float), 0.1),  # its default
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
    "laplace": Case(
        LaplaceParams(*NORMAL),
        LaplaceParams(NORMAL.loc - 0.4, NORMAL.log_scale),
        lambda params: scipy.stats.laplace(
            floats(params)[0], np.exp(floats(params)[1])
        ),
    ),
    "logit_normal": Case(
        NORMAL,
        NormalParams(NORMAL.loc - 0.4, NORMAL.log_scale * -0.5),
        LogitNormalTwin,
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
    "mixture_of_discretized_logistics": Case(
        LOGISTIC_MIXTURE,
        LOGISTIC_MIXTURE._replace(loc=LOGISTIC_MIXTURE.loc - 0.2),
        mixture_twin,
        discrete=True,
        unit=1 / (LEVELS - 1),
        settings={"num_components": 2, "levels": LEVELS},
    ),
    "multinomial": Case(
        jnp.array([-1.5, 0.2, 1.0]),
        jnp.array([0.5, 0.0, -2.0]),
        MultinomialTwin,
        discrete=True,
        joint=True,
        settings={"total_count": 20},
        means=(1.0, 15.0, 4.0),
    ),
    "negative_binomial": Case(
        NegativeBinomialParams(
            jnp.array([-0.8, 0.7, 2.2]), jnp.array([0.5, -1.0, -2.0])
        ),
        NegativeBinomialParams(jnp.array([0.2, 0.2, 1.9]), jnp.zeros(3)),
        negative_binomial_twin,
        discrete=True,
    ),
    "pixel_beta": Case(
        BetaParams(jnp.array([0.4, 0.7, 2.0]), jnp.array([0.5, 0.2, 1.0])),
        BetaParams(jnp.array([0.3, 1.0, 1.0]), jnp.array([0.0, 0.2, 1.3])),
        pixel_beta_twin,
    ),
    "poisson": Case(
        jnp.array([-0.8, 0.7, 2.7]),
        jnp.array([0.2, 0.2, 2.2]),
        exp_twin(scipy.stats.poisson),
        discrete=True,
    ),
    "shared_normal": Case(
        NormalParams(NORMAL.loc, jnp.full(3, -0.7)),
        NormalParams(NORMAL.loc - 0.4, jnp.zeros(3)),
        normal_twin,
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
        if all(attrgetter(field)(FAMILIES[name]()) is not None for field in fields)
    ]


def draw(name: str, draws: int = DRAWS, seed: int = 0) -> jax.Array:
    keys = jax.random.split(jax.random.key(seed), draws)
    case = CASES[name]
    sample = jax.jit(jax.vmap(case.family(name).sample, in_axes=(0, None)))
    return sample(keys, case.params)
