"""Measured variances against those of theory, where a gradient's law is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.benchmark import grad_report
from vaejax.bounds import beta_elbo, elbo
from vaejax.core import Batch, Example, LossState, Params
from vaejax.estimators import arm, disarm, pathwise, score_function
from vaejax.models import bernoulli_toy, gaussian_toy
from vaejax.objective import make_objective

X = np.array([0.3, -1.2, 2.0])
WEIGHT, BIAS, LOC, SQUARE = 0.7, -0.2, 0.4, 2 / 3  # A, b, mu, and q's variance
NUM_SAMPLES = 2


def gaussian_report(estimator):
    """The variance of the ELBO's gradient in the toy of one dimension, on three x."""
    objective = make_objective(
        gaussian_toy((1,)), elbo(), estimator, num_samples=NUM_SAMPLES
    )
    params = Params(
        encoder={"weight": jnp.array([[WEIGHT]]), "bias": jnp.array([BIAS])},
        decoder=(),
        prior={"loc": jnp.array([LOC])},
    )
    batch = Batch(Example(jnp.asarray(X[:, None], jnp.float32)), jnp.arange(len(X)))
    mean = X + LOC - 2 * (WEIGHT * X + BIAS)  # of the gradient in the posterior's loc
    truth = Params(
        encoder={
            "weight": np.array([[-(mean * X).mean()]]),
            "bias": np.array([-mean.mean()]),
        },
        decoder=(),
        prior={"loc": np.array([LOC - (WEIGHT * X + BIAS).mean()])},
    )
    key = jax.random.key(0)
    return grad_report(
        objective, params, LossState(), key, batch, draws=40_000, reference=truth
    )


def in_network(per_example: np.ndarray) -> float:
    """tr Cov of the gradient in A and b, from its variance in every loc = A x + b.

    The loc's derivatives in (A, b) are (x, 1), and a gradient is the mean over the
    observations and over K samples, all independent.
    """
    return float((per_example * (X**2 + 1)).mean() / len(X) / NUM_SAMPLES)


def pathwise_variance() -> float:
    """With z = loc + s e, e ~ N(0, 1), log q(z) does not depend on loc, and

        d/dloc log w = (x - z) + (mu - z) = x + mu - 2 loc - 2 s e,

    whose variance is 4 s^2.
    """
    return in_network(np.full(len(X), 4 * SQUARE))


def score_function_variance() -> float:
    """With grad log q = e / s, and the direct part -grad log q,

        g = (e / s) (log w - 1),   log w = a0 + a1 e + a2 e^2,
        a0 = -log(2 pi) / 2 + log s - (x - loc)^2 / 2 - (loc - mu)^2 / 2,
        a1 = s (x + mu - 2 loc),   a2 = 1/2 - s^2.

    So s g = (a0 - 1) e + a1 e^2 + a2 e^3, and as E e^2, e^4, e^6 = 1, 3, 15,

        s^2 Var g = (a0 - 1)^2 + 2 a1^2 + 15 a2^2 + 6 (a0 - 1) a2.
    """
    loc = WEIGHT * X + BIAS
    a0 = -0.5 * np.log(2 * np.pi) + 0.5 * np.log(SQUARE)
    b0 = a0 - 0.5 * (X - loc) ** 2 - 0.5 * (loc - LOC) ** 2 - 1
    a1 = np.sqrt(SQUARE) * (X + LOC - 2 * loc)
    a2 = 0.5 - SQUARE
    return in_network((b0**2 + 2 * a1**2 + 15 * a2**2 + 6 * b0 * a2) / SQUARE)


LOGIT, TARGET = 0.8, 0.3


def arm_report(estimator):
    """The variance of the gradient of -E (b - t)^2 for a single bit."""
    objective = make_objective(
        bernoulli_toy(), beta_elbo(0.0), estimator, num_samples=1
    )
    params = Params(encoder={"logits": jnp.array([LOGIT])}, decoder=(), prior=())
    batch = Batch(Example(jnp.array([[TARGET]])), jnp.arange(1))
    p = 1 / (1 + np.exp(-LOGIT))
    mean = (1 - 2 * TARGET) * p * (1 - p)
    truth = Params(encoder={"logits": np.array([mean])}, decoder=(), prior=())
    key = jax.random.key(0)
    return grad_report(
        objective, params, LossState(), key, batch, draws=40_000, reference=truth
    )


def arm_variance() -> float:
    """With d = f(1) - f(0) = 2 t - 1 and m = min(p, 1 - p), the bits differ where

        u < m, of (b, b~) = (1, 0), or u > 1 - m, of (0, 1),

    and there g = d |1/2 - u|, so that E g = d m (1 - m) and

        E g^2 = 2 d^2 int_0^m (1/2 - u)^2 du = 2/3 d^2 (1/8 - (1/2 - m)^3).
    """
    difference = 2 * TARGET - 1
    least = 1 / (1 + np.exp(abs(LOGIT)))
    square = 2 / 3 * (1 / 8 - (1 / 2 - least) ** 3)
    return float(difference**2 * (square - (least * (1 - least)) ** 2))


@pytest.mark.parametrize(
    ("report", "estimator", "variance", "another"),
    [
        (gaussian_report, pathwise(), pathwise_variance(), score_function()),
        (gaussian_report, score_function(), score_function_variance(), pathwise()),
        (arm_report, arm(), arm_variance(), disarm()),
    ],
    ids=["pathwise", "score_function", "arm"],
)
def test_the_measured_variance_is_that_of_theory(report, estimator, variance, another):
    def z(estimator) -> float:
        found = report(estimator)["encoder"]
        assert abs(found.bias_squared) < 4 * found.bias_squared_stderr
        assert found.variance_stderr < 0.03 * found.variance
        return (found.variance - variance) / found.variance_stderr

    assert abs(z(estimator)) < 4
    assert abs(z(another)) > 20  # unbiased, too, and of another variance
