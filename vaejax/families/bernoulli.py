"""Independent Bernoulli variables, parameterised by their logits.

    log p(x) = sum_i x_i l_i - softplus(l_i),    d log p / d l_i = x_i - sigmoid(l_i)

The computation is exact and finite at every finite logit, and has a custom derivative,
which costs a quarter of `jax.nn.softplus` and its gradient.

The relaxation (Maddison et al. 2017, arXiv:1611.00712) thresholds logistic noise:

    score = l + logit(u),    hard = 1[score > 0],    soft = sigmoid(score / temperature)

Given the event b, u is uniform above or below 1 - p, and the score is

    b = 1:    softplus( logit(v) + softplus( l))
    b = 0:   -softplus(-logit(v) + softplus(-l))

with v uniform on (0, 1) (Tucker et al. 2017, arXiv:1703.07370, appendix C).
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    Couplings,
    Family,
    Key,
    Measure,
    Outcomes,
    Relaxation,
    Scalar,
    Space,
)
from vaejax.families.deviance import log_deviance
from vaejax.families.heads import one_output
from vaejax.families.uniform import logit, open_uniform
from vaejax.ops.random import one_pass


def bernoulli() -> Family:
    """Independent Bernoulli variables; the distribution's parameters are the logits.

    No reparameterisation. As a likelihood it describes binary data: for an intensity
    between 0 and 1 its log-probability would be a cross-entropy, not a density.
    """
    return Family(
        name="bernoulli",
        sample=_sample,
        log_prob=_log_prob,
        mean=jax.nn.sigmoid,
        head=one_output(_clipped_logit),
        space=Space("bits"),
        factorised=True,
        kl=_kl,
        outcomes=Outcomes(support=_support, count=lambda x: 2**x.size),
        couplings=Couplings(
            measure=_measure,
            antithetic=_antithetic,
            relax=Relaxation(
                noise=open_uniform,
                soft=_soft,
                hard=_hard,
                conditional=_conditional,
                as_mean=_as_mean,
            ),
        ),
    )


def _sample(key: Key, logits: Float[Array, "*event"]) -> Float[Array, "*event"]:
    uniform = jax.random.uniform(one_pass(key), logits.shape, logits.dtype)
    return (uniform < jax.nn.sigmoid(logits)).astype(logits.dtype)


def _log_prob(logits: Float[Array, "*event"], x: Float[Array, "*event"]) -> Scalar:
    # Flat: XLA's CPU reductions over a short last axis (C = 1) are 30 times slower.
    return _elementwise_log_prob(logits.reshape(-1), x.reshape(-1)).sum()


@jax.custom_jvp
def _elementwise_log_prob(
    logits: Float[Array, "*event"], x: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    # log1p(exp(-|l|)) never overflows, and max(l, 0) is the rest of softplus(l).
    return x * logits - jnp.maximum(logits, 0) - jnp.log1p(jnp.exp(-jnp.abs(logits)))


@_elementwise_log_prob.defjvp
def _elementwise_log_prob_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    logits, x = primals
    logits_dot, x_dot = tangents
    slope = x - jax.nn.sigmoid(logits)
    return _elementwise_log_prob(logits, x), slope * logits_dot + logits * x_dot


def _kl(p: Float[Array, "*event"], q: Float[Array, "*event"]) -> Scalar:
    """sum_i p_i (log p_i - log q_i) + (1 - p_i) (log(1 - p_i) - log(1 - q_i))."""
    log_p, log_q = jax.nn.log_sigmoid(p), jax.nn.log_sigmoid(q)
    log_not_p, log_not_q = jax.nn.log_sigmoid(-p), jax.nn.log_sigmoid(-q)
    of_one = log_deviance(log_p, log_q)
    return (of_one + log_deviance(log_not_p, log_not_q)).reshape(-1).sum()


def _support(logits: Float[Array, "*event"]) -> Float[Array, "nodes ..."]:
    bits = np.array(list(itertools.product((0.0, 1.0), repeat=logits.size)))
    return jnp.asarray(bits.reshape(-1, *logits.shape), logits.dtype)


def _soft(
    logits: Float[Array, "*event"],
    u: Float[Array, "*event"],
    temperature: Scalar | float,
) -> Float[Array, "*event"]:
    return jax.nn.sigmoid((logits + logit(u)) / temperature)


def _hard(
    logits: Float[Array, "*event"], u: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    return (logits + logit(u) > 0).astype(logits.dtype)


def _conditional(
    logits: Float[Array, "*event"],
    v: Float[Array, "*event"],
    x: Float[Array, "*event"],
    temperature: Scalar | float,
) -> Float[Array, "*event"]:
    on = jax.nn.softplus(logit(v) + jax.nn.softplus(logits))
    off = -jax.nn.softplus(-logit(v) + jax.nn.softplus(-logits))
    return jax.nn.sigmoid(jnp.where(x > 0.5, on, off) / temperature)


def _as_mean(
    logits: Float[Array, "*event"], z: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    z, moved = stop_gradient(z), logits - stop_gradient(logits)
    return z + z * (1 - z) * moved


def _antithetic(
    key: Key, logits: Float[Array, "*event"]
) -> tuple[Float[Array, "*event"], Float[Array, "*event"]]:
    """1[u < p], as `_sample` draws it, and 1[1 - u < p] (Dong et al. 2020, DisARM)."""
    u = open_uniform(key, logits)
    return _hard(logits, 1 - u), _hard(logits, u)


def _measure(key: Key, logits: Float[Array, "*event"]) -> Measure:
    """The two outcomes, without noise: d/dl E f = p (1 - p) (f(1) - f(0))."""
    probability = jax.nn.sigmoid(logits)
    return Measure(
        constant=probability * (1 - probability),
        positive=jnp.ones_like(logits),
        negative=jnp.zeros_like(logits),
    )


def _clipped_logit(mean: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """The logit of a mean clipped off 0 and 1 (Burda et al. clip at 0.001 too)."""
    return logit(jnp.clip(mean, 0.001, 0.999))
