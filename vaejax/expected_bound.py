"""The expectation of a bound over K samples, as sums over the nodes of one sample.

    log-mean bounds    E log sum_k w_k = int exp(-e^u) - (E exp(-w e^u))^K du,   any K
    separable bounds   E F = E f(log_w)                         (one sample is enough)
    any other bound    the product rule over K copies of the nodes

The first line is Frullani's integral log s = int (e^-t - e^-ts) dt/t with t = e^u, in
which independent samples factorise: exact IWAE gradients at K = 1000 cost no more than
at K = 2.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import Bound, IncompatibleError, PyTree, Scalar

MAX_PRODUCT = 2**24  # the most outcomes of K samples in a sum


def expected_bound(
    bound: Bound,
    log_w: Float[Array, " S"],
    weights: Float[Array, " S"],
    num_samples: int,
    num_steps: int | Array,
) -> Scalar:
    """E F over `num_samples` of the nodes; `num_steps` of the integral, if needed."""
    parts = bound.expectation(num_samples)
    if parts is not None:
        total = jnp.zeros(())
        for coefficient, size, power in parts:
            if size == 1:
                mean = jnp.dot(weights, power * log_w)
            else:
                mean = _expected_log_mean(power * log_w, weights, size, num_steps)
            total += coefficient / power * mean
        return total
    if bound.separable:
        per_node = jax.vmap(lambda one: bound.aggregate(one[None]))(log_w)
        return jnp.dot(weights, per_node)
    return product_rule(bound.aggregate, log_w, weights, num_samples)


def product_rule(
    f: Callable[[Any], Scalar],
    leaves: PyTree,
    weights: Float[Array, " S"],
    num_samples: int,
) -> Scalar:
    """E f over K independent samples, each at one of the S nodes of `leaves`."""
    size = weights.shape[0]
    if size**num_samples > MAX_PRODUCT:
        raise IncompatibleError(
            f"the product rule over K = {num_samples} samples of {size} outcomes each "
            f"sums more than {MAX_PRODUCT:,} terms: use a smaller K"
        )

    @jax.checkpoint  # otherwise the backward pass stores every intermediate value
    def term(number: Array) -> Scalar:
        chosen = jnp.stack(jnp.unravel_index(number, (size,) * num_samples))
        value = f(jax.tree.map(lambda leaf: leaf[chosen], leaves))
        return weights[chosen].prod() * value

    return jax.lax.map(term, jnp.arange(size**num_samples), batch_size=2**14).sum()


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _expected_log_mean(
    log_w: Float[Array, " S"],
    weights: Float[Array, " S"],
    num_samples: int,
    num_steps: int | Array,
) -> Scalar:
    """E log mean_k w_k over K independent samples, by the one-dimensional integral."""
    return _log_mean_and_slopes(log_w, weights, num_samples, num_steps)[0]


def _log_mean_and_slopes(
    log_w: Float[Array, " S"],
    weights: Float[Array, " S"],
    num_samples: int,
    num_steps: int | Array,
) -> tuple[Scalar, tuple[Float[Array, " S"], Float[Array, " S"]]]:
    """The integral, and its derivatives in the log-weights and their probabilities.

    One pass computes all: autodiff of the loop would store every step.
    """
    shift = logsumexp(log_w, b=weights)
    centred = log_w - shift
    # u = 3 sinh(t) covers weights as small as e^-30000 with steps of 0.05 around 1.
    reach = np.arcsinh(1e4)
    width = 2 * reach / (num_steps - 1)

    def step(i: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        total, by_log_w, by_weights = sums
        t = -reach + i * width
        u, du = 3 * jnp.sinh(t), 3 * jnp.cosh(t) * width
        exponent = jnp.exp(jnp.minimum(u + centred, 700.0))
        decay = jnp.exp(-exponent)
        laplace = jnp.dot(weights, decay)
        slope = du * num_samples * laplace ** (num_samples - 1)
        return (
            total
            + du * (jnp.exp(-jnp.exp(jnp.minimum(u, 700.0))) - laplace**num_samples),
            by_log_w + slope * weights * exponent * decay,
            by_weights - slope * decay,
        )

    zeros = jnp.zeros((), log_w.dtype), jnp.zeros_like(log_w), jnp.zeros_like(weights)
    total, *slopes = jax.lax.fori_loop(0, num_steps, step, zeros)
    return shift + total - np.log(num_samples), tuple(slopes)


def _log_mean_backward(
    num_samples: int, slopes: tuple[Array, Array], cotangent: Scalar
) -> tuple[Array, Array, None]:
    return cotangent * slopes[0], cotangent * slopes[1], None


_expected_log_mean.defvjp(_log_mean_and_slopes, _log_mean_backward)
