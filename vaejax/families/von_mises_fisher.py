"""The von Mises-Fisher distribution on the sphere of unit vectors in D dimensions.

    p(z) = exp(kappa mu'z) / C(kappa),
    C(kappa) = |S^(D-2)| int exp(kappa w) (1 - w^2)^((D-3)/2) dw,   w in [-1, 1]

The integral is a Bessel function's (Poisson's integral): C(kappa) =
(2 pi)^(D/2) kappa^(1-D/2) I_(D/2-1)(kappa). With w = tanh s its integrand is smooth and
has exponential tails, and the trapezoidal rule gives the normaliser, its derivative and
the mean of w to rounding, for any D >= 2 and kappa.

Samples are z = w mu + sqrt(1 - w^2) v: w by rejection (Wood 1994, "Simulation of the
von Mises Fisher distribution"), v uniform on the directions orthogonal to mu. The
gradient through the accepted w is the implicit one (Figurnov et al. 2018,
arXiv:1805.08498), so that the correction which rejection needs (Naesseth et al. 2017,
arXiv:1610.05683; Davidson et al. 2018, arXiv:1804.00891) does not arise:

    dw/dkappa = -(dF/dkappa) / p(w) = int_-1^w (E w - w') p(w') dw' / p(w)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float

from vaejax.core import Family, Key, Scalar
from vaejax.families.integrals import gauss_legendre, unimodal_rule

NUM_NODES = 96


class VonMisesFisherParams(NamedTuple):
    """Mean direction, of any length above 0, and log concentration."""

    direction: Float[Array, "*event"]
    log_concentration: Scalar


def von_mises_fisher() -> Family:
    """Unit vectors around a mean direction, implicitly reparameterised.

    D is the size of the event, 2 or more. Densities are taken over the sphere's
    surface. A network puts out two numbers per coordinate: the direction, and numbers
    whose mean is the log concentration. In float32, concentrations up to 1e5.
    """
    return Family(
        name="von_mises_fisher",
        sample=_sample,
        log_prob=_log_prob,
        mean=_mean,
        outputs_per_coordinate=2,
        from_outputs=lambda outputs: VonMisesFisherParams(
            outputs[0], outputs[1].mean()
        ),
        to_outputs=_to_outputs,
        reparam="implicit",
        kl=_kl,
    )


def uniform_on_sphere(dim: int) -> VonMisesFisherParams:
    """Parameters of the uniform distribution: a concentration of 1e-9."""
    direction = jnp.zeros(dim).at[0].set(1.0)
    return VonMisesFisherParams(direction, jnp.log(jnp.float32(1e-9)))


def _unit(direction: Float[Array, "*event"]) -> Float[Array, "*event"]:
    # Scaled first: squares of 1e-30 underflow, those of 1e30 overflow.
    largest = stop_gradient(jnp.abs(direction).max())
    scaled = direction / jnp.maximum(largest, jnp.finfo(direction.dtype).tiny)
    return scaled * jax.lax.rsqrt(jnp.maximum(jnp.square(scaled).sum(), 0.5))


def _log_prob(params: VonMisesFisherParams, z: Float[Array, "*event"]) -> Scalar:
    # kappa (mu'z - 1) = -kappa |z - mu|^2 / 2 does not cancel at z = mu.
    kappa, mu = jnp.exp(params.log_concentration), _unit(params.direction)
    squares = jnp.square(z - mu).sum()
    return -kappa * squares / 2 - log_scaled_normaliser(kappa, z.size)


def _mean(params: VonMisesFisherParams) -> Float[Array, "*event"]:
    kappa = jnp.exp(params.log_concentration)
    return (1 - mean_gap(kappa, params.direction.size)) * _unit(params.direction)


def _kl(p: VonMisesFisherParams, q: VonMisesFisherParams) -> Scalar:
    """E w (kappa_p - kappa_q mu_p'mu_q) - log C(kappa_p) + log C(kappa_q)."""
    dim = p.direction.size
    kappa, other = jnp.exp(p.log_concentration), jnp.exp(q.log_concentration)
    mu, nu = _unit(p.direction), _unit(q.direction)
    gap = mean_gap(kappa, dim)
    # In gaps 1 - w throughout: the large kappas themselves drop out.
    angle = jnp.square(mu - nu).sum() / 2  # 1 - mu'nu
    expected = other * (gap + angle - gap * angle) - kappa * gap
    return (
        expected - log_scaled_normaliser(kappa, dim) + log_scaled_normaliser(other, dim)
    )


def _to_outputs(mean: Float[Array, "*event"]) -> Float[Array, "2 ..."]:
    """The concentration at which E w is the length of the wanted mean, by bisection."""
    length = jnp.clip(jnp.sqrt(jnp.square(mean).sum()), 0.001, 0.999)

    def bisect(_: Array, bounds: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        below, above = bounds
        middle = (below + above) / 2
        short = 1 - mean_gap(jnp.exp(middle), mean.size) < length
        return jnp.where(short, middle, below), jnp.where(short, above, middle)

    ends = jnp.full_like(length, -8.0), jnp.full_like(length, np.log(1e3 * mean.size))
    log_kappa, _ = jax.lax.fori_loop(0, 40, bisect, ends)
    return jnp.stack([mean, jnp.broadcast_to(log_kappa, mean.shape)])


# The distribution of w = mu'z = tanh s, by its gap 1 - w, which is accurate near mu.


def _log_density(kappa: Scalar, dim: int, s: Array) -> Array:
    """Of s, not normalised: kappa (w - 1) + (D - 1)/2 log(1 - w^2)."""
    log_cosh = jnp.abs(s) + jnp.log1p(jnp.exp(-2 * jnp.abs(s))) - np.log(2.0)
    return -kappa * _gap(s) - (dim - 1) * log_cosh


def _gap(s: Array) -> Array:
    return 2 * jax.nn.sigmoid(-2 * s)


def _from_gap(gap: Array) -> Array:
    """The s at which 1 - tanh s is the gap."""
    return 0.5 * (jnp.log(2 - gap) - jnp.log(gap))


def _mode(kappa: Scalar, dim: int) -> Scalar:
    """Where kappa (1 - w^2) = (D - 1) w."""
    root = jnp.sqrt(jnp.square(dim - 1.0) + 4 * jnp.square(kappa))
    # 1 - w = (root + D - 1 - 2 kappa) / (root + D - 1), and root - 2 kappa expanded.
    gap = (dim - 1) * (1 + (dim - 1) / (root + 2 * kappa)) / (root + dim - 1)
    return _from_gap(gap)


def _rule(kappa: Scalar, dim: int) -> tuple[Float[Array, " nodes"], Array]:
    return unimodal_rule(
        lambda s: _log_density(kappa, dim, s), _mode(kappa, dim), NUM_NODES
    )


def log_scaled_normaliser(kappa: Scalar, dim: int) -> Scalar:
    """The logarithm of exp(-kappa) C(kappa)."""
    _, log_weights = _rule(kappa, dim)
    half = (dim - 1) / 2
    log_area = np.log(2.0) + half * np.log(np.pi) - gammaln(half)  # of S^(D-2)
    return logsumexp(log_weights) + log_area


def mean_gap(kappa: Scalar, dim: int) -> Scalar:
    """1 - E w, where E w = I_(D/2)(kappa) / I_(D/2-1)(kappa)."""
    s, log_weights = _rule(kappa, dim)
    return jnp.dot(jax.nn.softmax(log_weights), _gap(s))


# Samples.


def _sample(key: Key, params: VonMisesFisherParams) -> Float[Array, "*event"]:
    gap_key, tangent_key = jax.random.split(key)
    shape, dim = params.direction.shape, params.direction.size
    kappa = jnp.exp(params.log_concentration)
    gap = _with_implicit_gradient(
        dim, kappa, _sample_gap(gap_key, stop_gradient(kappa), dim)
    )
    noise = jax.random.normal(tangent_key, (dim - 1,), kappa.dtype)
    tangent = noise * jax.lax.rsqrt(jnp.square(noise).sum())
    around_first = jnp.concatenate(
        [(1 - gap)[None], jnp.sqrt(gap * (2 - gap)) * tangent]
    )
    return _rotate(around_first, _unit(params.direction).reshape(-1)).reshape(shape)


def _rotate(y: Float[Array, " D"], mu: Float[Array, " D"]) -> Float[Array, " D"]:
    """Turn the first axis into mu, by a Householder reflection.

    Reflecting it into mu or into -mu, whichever is farther, and then changing the sign,
    keeps the reflection's vector away from 0 and its derivative bounded.
    """
    sign = jnp.where(mu[0] < 0, -1.0, 1.0).astype(mu.dtype)
    normal = sign * mu + jnp.zeros_like(mu).at[0].set(1.0)
    reflected = y - 2 * normal * (jnp.dot(normal, y) / jnp.dot(normal, normal))
    return -sign * reflected


def _sample_gap(key: Key, kappa: Scalar, dim: int) -> Scalar:
    """1 - w by Wood's rejection from a transformed beta variable; accepts above 2/3."""
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
        return key, gap, jnp.log1p(-u) <= log_ratio

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
    return gap, _implicit_slope(dim, kappa, gap) * tangents[0]


def _implicit_slope(dim: int, kappa: Scalar, gap: Scalar) -> Scalar:
    """The gap's derivative by kappa, from the side of w that holds less mass."""
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
