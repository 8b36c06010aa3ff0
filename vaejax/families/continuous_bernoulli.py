"""Continuous Bernoulli variables on [0, 1], parameterised by their logits.

    log p(x) = sum_i x_i l_i - A(l_i),     A(l) = log int_0^1 exp(l x) dx
                                                = log((exp(l) - 1) / l)
    mean = A'(l) = 1 / (1 - exp(-l)) - 1 / l

A(l) normalises the cross-entropy of grey values to a log-density (Loaiza-Ganem and
Cunningham 2019, arXiv:1907.06845; their lambda is sigmoid(l)). At l = 0 the
distribution is uniform, and A and its derivatives are quotients of zeros: near 0 they
are computed from the Taylor series

    A(l) = l / 2 + sum_k B_2k l^2k / (2k (2k)!),     B_2k the Bernoulli numbers.

Samples are the inverse distribution function at a uniform number u,

    F(x) = (exp(l x) - 1) / (exp(l) - 1) = u,
    dx/dl = -(dF/dl) / p(x) = (1 - exp(-l x)) / l (A'(l) - x A'(l x)),

The derivative is for l > 0; x at -l is 1 - x at l and 1 - u.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Family, Key, Scalar, Space
from vaejax.families.heads import one_output
from vaejax.families.roots import solve_increasing
from vaejax.families.uniform import open_uniform

# Coefficients of l^2, l^4, ...; up to l = 1/2 the omitted terms are below 1e-16.
SERIES = (
    *(1 / 24, -1 / 2880, 1 / 181440, -1 / 9676800, 1 / 479001600),
    *(-691 / 15692092416000, 1 / 1046139494400),
)


def continuous_bernoulli() -> Family:
    """Independent continuous Bernoulli variables; the parameters are the logits.

    Explicitly reparameterised, by the inverse distribution function.
    """
    return Family(
        name="continuous_bernoulli",
        sample=_sample,
        log_prob=_log_prob,
        mean=_mean,
        head=one_output(_at_mean),
        space=Space("interval"),
        factorised=True,
        reparam="explicit",
    )


def log_normalizer(logits: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """A(l), accurate with its derivatives at every logit."""
    small, series, share = _normalizers(logits)
    return jnp.where(small, series, jnp.maximum(logits, 0.0) + share)


def _normalizers(logits: Float[Array, "*event"]) -> tuple[Array, Array, Array]:
    """A mask of small l; A(l) where l is small; A(l) - max(l, 0) elsewhere."""
    small = jnp.abs(logits) < 0.5
    # Each branch is kept finite where it is not taken: NaN times 0 would be NaN.
    near, far = jnp.where(small, logits, 0.0), jnp.where(small, 1.0, logits)
    powers = jnp.zeros_like(near)
    for coefficient in reversed(SERIES):
        powers = jnp.square(near) * (coefficient + powers)
    size = jnp.abs(far)
    return small, near / 2 + powers, jnp.log1p(-jnp.exp(-size)) - jnp.log(size)


_mean = jnp.vectorize(jax.grad(log_normalizer))


def _log_prob(logits: Float[Array, "*event"], x: Float[Array, "*event"]) -> Scalar:
    small, series, share = _normalizers(logits)
    # x l - max(l, 0), with x measured from the likelier end of [0, 1].
    tilt = logits * jnp.where(logits > 0, x - 1, x)
    log_density = jnp.where(small, x * logits - series, tilt - share)
    inside = (x >= 0) & (x <= 1)
    return jnp.where(inside, log_density, -jnp.inf).reshape(-1).sum()


def _sample(key: Key, logits: Float[Array, "*event"]) -> Float[Array, "*event"]:
    return _quantile(logits, open_uniform(key, logits))


@jax.custom_jvp
def _quantile(
    logits: Float[Array, "*event"], u: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    size, up = _size(logits), logits > 0
    # The quantile at the logit -size, where nothing overflows.
    x = -jnp.log1p(jnp.where(up, 1 - u, u) * jnp.expm1(-size)) / size
    return jnp.where(up, 1 - x, x)


@_quantile.defjvp
def _quantile_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """The derivative with respect to the logits alone, as u is noise."""
    logits, u = primals
    x, size = _quantile(logits, u), _size(logits)
    up = jnp.where(logits > 0, x, 1 - x)
    slope = -jnp.expm1(-size * up) / size * (_mean(size) - up * _mean(size * up))
    return x, slope * tangents[0]


def _size(logits: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """|l|, a divisor, kept above eps; below eps, x is u to the last digit."""
    return jnp.maximum(jnp.abs(logits), jnp.finfo(logits.dtype).eps)


def _at_mean(mean: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """The logits of a mean clipped off 0 and 1, where logits grow like 1 / mean."""
    return solve_increasing(_mean, jnp.clip(mean, 0.02, 0.98), -100.0, 100.0)
