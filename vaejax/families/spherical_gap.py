"""The gap 1 - mu'z between a von Mises-Fisher vector z and its mean direction.

With w = mu'z the cosine, in D dimensions and at a concentration kappa,

    p(w) proportional to exp(kappa w) (1 - w^2)^((D-3)/2),   w in [-1, 1]

The integral is a Bessel function (Poisson's integral). With w = tanh s its integrand is
smooth and has exponential tails, and the trapezoidal rule gives the normaliser, its
derivative and the mean of w to rounding, for any D >= 2 and kappa. The functions here
compute the gap, as it stays accurate where w rounds to 1.

Samples are drawn by rejection (Wood 1994, "Simulation of the von Mises Fisher
distribution"). The gradient through the accepted w is the implicit one (Figurnov et al.
2018, arXiv:1805.08498), which needs no correction for rejection (Naesseth et al. 2017,
arXiv:1610.05683):

    dw/dkappa = -(dF/dkappa) / p(w) = int_-1^w (E w - w') p(w') dw' / p(w)
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import Key, Scalar
from vaejax.families.integrals import divergence_by_nodes, gauss_legendre, unimodal_rule

NUM_NODES = 96


def log_scaled_normaliser(kappa: Scalar, dim: int) -> Scalar:
    """The logarithm of exp(-kappa) C(kappa), the integral over the sphere.

    C(kappa) = (2 pi)^(D/2) kappa^(1-D/2) I_(D/2-1)(kappa).
    """
    _, log_weights = _rule(kappa, dim)
    half = (dim - 1) / 2
    # The log of the area of S^(D-2).
    log_area = math.log(2) + half * math.log(math.pi) - math.lgamma(half)
    return logsumexp(log_weights) + log_area


def gap_divergence(kappa: Scalar, other: Scalar, dim: int) -> Scalar:
    """KL(p || q) of the gap, at the concentrations kappa of p and other of q.

    log C~(other) - log C~(kappa) + (other - kappa) E gap, with the scaled normalisers.
    """
    s, log_weights = _rule(kappa, dim)
    weights, more = jax.nn.softmax(log_weights), other - kappa
    _, others = _rule(other, dim)
    change = logsumexp(others) - logsumexp(log_weights)
    far = change + more * jnp.dot(weights, _gap(s))
    return divergence_by_nodes(weights, -more * _gap(s), far)


def mean_gap(kappa: Scalar, dim: int) -> Scalar:
    """The mean gap 1 - E w, where E w = I_(D/2)(kappa) / I_(D/2-1)(kappa)."""
    s, log_weights = _rule(kappa, dim)
    return jnp.dot(jax.nn.softmax(log_weights), _gap(s))


def sample_gap(key: Key, kappa: Scalar, dim: int) -> Scalar:
    """A sample of the gap 1 - w, implicitly reparameterised."""
    gap = _sample(key, stop_gradient(kappa), dim)
    return _with_implicit_gradient(dim, kappa, gap)


def _log_density(kappa: Scalar, dim: int, s: Array) -> Array:
    """Unnormalised log-density of s: kappa (w - 1) + (D - 1)/2 log(1 - w^2)."""
    log_cosh = jnp.abs(s) + jnp.log1p(jnp.exp(-2 * jnp.abs(s))) - np.log(2.0)
    return -kappa * _gap(s) - (dim - 1) * log_cosh


def _gap(s: Array) -> Array:
    return 2 * jax.nn.sigmoid(-2 * s)


def _from_gap(gap: Array) -> Array:
    """The s at which 1 - tanh s is the gap."""
    return 0.5 * (jnp.log(2 - gap) - jnp.log(gap))


def _mode(kappa: Scalar, dim: int) -> Scalar:
    """The mode of s, at which kappa (1 - w^2) = (D - 1) w."""
    root = jnp.sqrt(jnp.square(dim - 1.0) + 4 * jnp.square(kappa))
    # 1 - w = (root + D - 1 - 2 kappa) / (root + D - 1), and root - 2 kappa expanded.
    gap = (dim - 1) * (1 + (dim - 1) / (root + 2 * kappa)) / (root + dim - 1)
    return _from_gap(gap)


def _rule(kappa: Scalar, dim: int) -> tuple[Float[Array, " nodes"], Array]:
    return unimodal_rule(
        lambda s: _log_density(kappa, dim, s), _mode(kappa, dim), NUM_NODES
    )


def _sample(key: Key, kappa: Scalar, dim: int) -> Scalar:
    """Draw 1 - w by Wood's rejection from a transformed beta; accepts above 2/3."""
    half = (dim - 1) / 2
    b = (dim - 1) / (2 * kappa + jnp.sqrt(4 * jnp.square(kappa) + (dim - 1.0) ** 2))
    touch = 2 * b / (1 + b)  # the gap at which the envelope touches

    def propose(state: tuple[Key, Scalar, Array]) -> tuple[Key, Scalar, Array]:
        key, beta_key, uniform_key = jax.random.split(state[0], 3)
        beta = jax.random.beta(beta_key, half, half, dtype=kappa.dtype)
        gap = 2 * b * beta / (1 - (1 - b) * beta)
        log_ratio = kappa * (touch - gap) + (dim - 1) * jnp.log(
            (touch + gap - touch * gap) / (touch * (2 - touch))
        )
        u = jax.random.uniform(uniform_key, dtype=kappa.dtype)
        # A ratio that is not finite is accepted, or the loop would never end.
        return key, gap, (jnp.log1p(-u) <= log_ratio) | ~jnp.isfinite(log_ratio)

    start = key, jnp.zeros_like(kappa), jnp.zeros((), bool)
    _, gap, _ = jax.lax.while_loop(lambda state: ~state[2], propose, start)
    limits = jnp.finfo(kappa.dtype)
    return jnp.clip(gap, limits.tiny, 2 - 2 * limits.eps)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_implicit_gradient(dim: int, kappa: Scalar, gap: Scalar) -> Scalar:
    return gap


@_with_implicit_gradient.defjvp
def _implicit_jvp(
    dim: int, primals: tuple[Scalar, Scalar], tangents: tuple[Scalar, Scalar]
) -> tuple[Scalar, Scalar]:
    kappa, gap = primals
    return gap, implicit_slope(dim, kappa, gap) * tangents[0]


def implicit_slope(dim: int, kappa: Scalar, gap: Scalar) -> Scalar:
    """The gap's derivative in kappa, from the side of w that holds less mass."""
    mean, center, s = mean_gap(kappa, dim), _mode(kappa, dim), _from_gap(gap)
    nodes, _ = _rule(kappa, dim)
    left = gap > mean  # w below its mean
    tau = jnp.arcsinh(s - center)
    first, last = jnp.arcsinh(nodes[0] - center), jnp.arcsinh(nodes[-1] - center)

    def integrand(tau: Array) -> Array:
        other = center + jnp.sinh(tau)
        ratio = jnp.exp(_log_density(kappa, dim, other) - _log_density(kappa, dim, s))
        return (mean - _gap(other)) * ratio * jnp.cosh(tau)

    integral = gauss_legendre(
        integrand, jnp.where(left, first, tau), jnp.where(left, tau, last)
    )
    # The density of s is that of w times dw/ds = 1 - w^2.
    return jnp.where(left, integral, -integral) * gap * (2 - gap)
