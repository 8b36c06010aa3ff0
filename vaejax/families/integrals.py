"""Integrals over one variable, for families without closed forms.

`unimodal_rule` integrates a smooth density over the whole line, by the trapezoidal rule
after t = mode + sinh(tau): exponentially accurate in the number of nodes (Trefethen and
Weideman 2014, "The exponentially convergent trapezoidal rule"), for narrow densities
and for long exponential tails. `legendre_rule` integrates over an interval.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import Scalar
from vaejax.families.deviance import exp_rest

DROP = 40.0  # densities are cut off where they are exp(-40) of their peak
REACH = 12.0  # the largest tau: tails of up to sinh(12) = 80,000


def unimodal_rule(
    log_density: Callable[[Array], Array], mode: Scalar, num_nodes: int
) -> tuple[Float[Array, " nodes"], Float[Array, " nodes"]]:
    """Nodes t and log-weights: sum exp(log_weight) f(t) is int exp(log_density) f.

    The nodes follow the density but carry no gradient; the weights depend on the
    parameters, so that derivatives are d/dtheta int p f = int (d p / d theta) f.

    Args:
        log_density: elementwise, falling monotonically on both sides of the mode.
        mode: where it is largest; about is enough.
        num_nodes: of the rule.
    """
    mode = stop_gradient(mode)
    peak = stop_gradient(log_density(mode))

    def bisect(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        near, far = bounds
        tau = (near + far) / 2
        falls_short = peak - log_density(mode + jnp.sinh(tau)) < DROP
        return jnp.where(falls_short, tau, near), jnp.where(falls_short, far, tau)

    ends = jnp.array([-REACH, REACH], mode.dtype)
    _, (lower, upper) = jax.lax.fori_loop(0, 30, bisect, (jnp.zeros_like(ends), ends))
    lower, upper = stop_gradient((lower, upper))
    step = (upper - lower) / (num_nodes - 1)
    tau = lower + step * jnp.arange(num_nodes, dtype=mode.dtype)
    t = mode + jnp.sinh(tau)
    return t, log_density(t) + jnp.log(jnp.cosh(tau) * step)


def tensor_rule(
    nodes: Float[Array, "D nodes"], weights: Float[Array, "D nodes"]
) -> tuple[Float[Array, "S D"], Float[Array, " S"]]:
    """The product of D rules: S = nodes ** D points and their weights."""
    dim, num_nodes = nodes.shape
    grids = np.meshgrid(*[np.arange(num_nodes)] * dim, indexing="ij")
    chosen = np.stack(grids).reshape(dim, -1)
    rows = np.arange(dim)[:, None]
    return nodes[rows, chosen].T, weights[rows, chosen].prod(0)


def gauss_legendre(
    f: Callable[[Array], Array], lower: Scalar, upper: Scalar, num_nodes: int = 48
) -> Scalar:
    """The integral of f, which maps [nodes] to [nodes], over [lower, upper]."""
    nodes, weights = legendre_rule(lower, upper, num_nodes)
    return jnp.dot(weights, f(nodes))


def legendre_rule(
    lower: Scalar, upper: Scalar, num_nodes: int
) -> tuple[Float[Array, " nodes"], Float[Array, " nodes"]]:
    """Gauss and Legendre's nodes on [lower, upper], and their weights."""
    nodes, weights = (
        jnp.asarray(rule, lower.dtype)
        for rule in np.polynomial.legendre.leggauss(num_nodes)
    )
    half = (upper - lower) / 2
    return lower + half * (1 + nodes), half * weights


def divergence_by_nodes(
    weights: Float[Array, " nodes"],
    log_ratio: Float[Array, " nodes"],
    far: Scalar,
) -> Scalar:
    """KL(p || q) from log(q / p), up to a constant, at the nodes of a rule for p.

    With y the log-ratio less its mean, and q normalised, the divergence is
    log E e^y = log(1 + E[e^y - 1 - y]), which is not negative.

    Args:
        weights: of the rule, with a sum of 1.
        log_ratio: log q - log p and any constant.
        far: the divergence by a form for distributions that are not near.
    """
    y = log_ratio - jnp.dot(weights, log_ratio)
    near = jnp.abs(y).max() < 1
    rests = exp_rest(jnp.where(near, y, 0.0))
    return jnp.where(near, jnp.log1p(jnp.dot(weights, rests)), far)
