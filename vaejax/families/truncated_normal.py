"""Normal distributions truncated to an interval, [0, 1] by default.

With x = (z - loc) / scale the density on the interval is proportional to exp(-x^2 / 2).
Distances are from the anchor, the point of the interval nearest to the location:

    d = (z - anchor) / scale,  m = (anchor - loc) / scale,  x^2 - m^2 = 2 m d + d^2
    log p(z) = -(m d + d^2 / 2) - log scale - log int exp(-(m d + d^2 / 2)) dd

This form neither cancels nor overflows, however far outside the location lies. The
integral is a Gauss-Legendre rule over the part of the interval that holds the mass. A
sample is the inverse distribution function at a uniform number u, and its derivative
follows from F(z; theta) = u (Figurnov et al. 2018, arXiv:1805.08498).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import Family, Key, Scalar, Space, VaejaxError
from vaejax.families.heads import two_outputs
from vaejax.families.integrals import (
    divergence_by_nodes,
    gauss_legendre,
    legendre_rule,
    tensor_rule,
)
from vaejax.families.normal import NormalParams
from vaejax.families.roots import solve_increasing
from vaejax.families.uniform import open_uniform

NUM_NODES = 48


class _Window(NamedTuple):
    """One coordinate, in standard deviations from the anchor."""

    anchor: Scalar
    scale: Scalar
    tilt: Scalar  # m
    lower: Scalar  # end of the part that holds all but exp(-40) of the mass
    upper: Scalar


def truncated_normal(low: float = 0.0, high: float = 1.0) -> Family:
    """Independent normal variables given that they lie in [low, high].

    Explicitly reparameterised, by the inverse distribution function. The parameters are
    those of the normal variable before it is cut off, so `loc` is not the mean.
    """
    if not low < high:  # so that NaN is refused too
        raise VaejaxError(f"the bounds are {low} and {high}: use low < high")

    def window(loc: Scalar, log_scale: Scalar) -> _Window:
        anchor, scale = jnp.clip(loc, low, high), jnp.exp(log_scale)
        tilt = (anchor - loc) / scale
        # m d + d^2 / 2 = 40
        reach = 80 / (jnp.abs(tilt) + jnp.sqrt(jnp.square(tilt) + 80))
        lower = jnp.maximum((low - anchor) / scale, -reach)
        upper = jnp.minimum((high - anchor) / scale, reach)
        return _Window(anchor, scale, tilt, lower, upper)

    def mean(loc: Scalar, log_scale: Scalar) -> Scalar:
        view = window(loc, log_scale)
        return view.anchor + view.scale * _expectation(view, lambda d: d)

    def log_prob(loc: Scalar, log_scale: Scalar, z: Scalar) -> Scalar:
        view = window(loc, log_scale)
        d = (z - view.anchor) / view.scale
        log_mass = jnp.log(_mass(view, view.lower, view.upper))
        inside = (low <= z) & (z <= high)
        return jnp.where(inside, -_energy(view, d) - log_mass - log_scale, -jnp.inf)

    def kl(p: NormalParams, q: NormalParams) -> Scalar:
        """E_p[log p - log q], which is quadratic in z, by a rule on the window."""

        def one(
            loc: Scalar, log_scale: Scalar, q_loc: Scalar, q_log_scale: Scalar
        ) -> Scalar:
            view, other = window(loc, log_scale), window(q_loc, q_log_scale)
            d, widths = legendre_rule(view.lower, view.upper, NUM_NODES)
            masses = widths * jnp.exp(-_energy(view, d))
            weights = masses / masses.sum()
            stretch = jnp.exp(log_scale - q_log_scale)
            of_q = (view.anchor - other.anchor) / other.scale + stretch * d
            log_ratio = _energy(view, d) - _energy(other, of_q)
            of_masses = jnp.log(_mass(other, other.lower, other.upper) / masses.sum())
            constant = of_masses + q_log_scale - log_scale
            far = constant - jnp.dot(weights, log_ratio)
            return divergence_by_nodes(weights, log_ratio, far)

        return jnp.vectorize(one)(*p, *q).sum()

    @jax.custom_jvp
    def quantile(loc: Scalar, log_scale: Scalar, u: Scalar) -> Scalar:
        view = window(loc, log_scale)
        z = view.anchor + view.scale * _invert(view, u)
        return jnp.clip(z, low, high)

    @quantile.defjvp
    def quantile_jvp(
        primals: tuple[Scalar, ...], tangents: tuple[Scalar, ...]
    ) -> tuple[Scalar, Scalar]:
        loc, log_scale, u = primals
        view = window(loc, log_scale)
        z = quantile(loc, log_scale, u)
        d = (z - view.anchor) / view.scale
        by_loc = _slope(view, d, u, lambda d: d)
        # d log p / d log_scale is x^2 and a constant, and x^2 = m^2 + 2 energy.
        by_log_scale = view.scale * _slope(view, d, u, lambda d: 2 * _energy(view, d))
        return z, by_loc * tangents[0] + by_log_scale * tangents[1]

    def sample(key: Key, params: NormalParams) -> Float[Array, "*event"]:
        u = open_uniform(key, params.loc)
        return jnp.vectorize(quantile)(*params, u)

    def at_mean(target: Float[Array, "*event"]) -> NormalParams:
        """Half the interval as the scale, and the location that gives this mean."""
        log_scale = jnp.full_like(target, jnp.log((high - low) / 2))
        inside = jnp.clip((target - low) / (high - low), 0.02, 0.98)
        # The mean rises with loc, through [0.02, 0.98] within 25 widths of the bounds.
        width = 25 * (high - low)
        loc = solve_increasing(
            lambda loc: jnp.vectorize(mean)(loc, log_scale),
            low + inside * (high - low),
            low - width,
            high + width,
        )
        return NormalParams(loc, log_scale)

    def quadrature(
        params: NormalParams, num_nodes: int
    ) -> tuple[Float[Array, "nodes ..."], Float[Array, " nodes"]]:
        """A rule on the window; the weights carry the gradient, the nodes do not."""

        def one(loc: Scalar, log_scale: Scalar) -> tuple[Array, Array]:
            view = stop_gradient(window(loc, log_scale))
            d, widths = legendre_rule(view.lower, view.upper, num_nodes)
            z = jnp.clip(view.anchor + view.scale * d, low, high)
            density = jnp.exp(jax.vmap(log_prob, (None, None, 0))(loc, log_scale, z))
            return z, view.scale * widths * density

        flat = (leaf.reshape(-1) for leaf in params)
        z, weights = tensor_rule(*jax.vmap(one)(*flat))
        return z.reshape(-1, *params.loc.shape), weights

    return Family(
        name="truncated_normal",
        sample=sample,
        log_prob=lambda params, z: jnp.vectorize(log_prob)(*params, z).sum(),
        mean=lambda params: jnp.vectorize(mean)(*params),
        head=two_outputs(NormalParams, at_mean),
        space=Space("interval", low=low, high=high),
        factorised=True,
        reparam="explicit",
        kl=kl,
        quadrature=quadrature,
    )


def _energy(view: _Window, d: Array) -> Array:
    """Half of x^2, less its value at the anchor."""
    return view.tilt * d + jnp.square(d) / 2


def _mass(view: _Window, lower: Scalar, upper: Scalar) -> Scalar:
    return gauss_legendre(lambda d: jnp.exp(-_energy(view, d)), lower, upper)


def _expectation(view: _Window, f: Callable[[Array], Array]) -> Scalar:
    total = gauss_legendre(
        lambda d: f(d) * jnp.exp(-_energy(view, d)), view.lower, view.upper
    )
    return total / _mass(view, view.lower, view.upper)


def _invert(view: _Window, u: Scalar) -> Scalar:
    """The d at which F(d) = u, by Newton steps kept inside a shrinking bracket."""
    total = _mass(view, view.lower, view.upper)

    def step(
        _: Array, state: tuple[Scalar, Scalar, Scalar]
    ) -> tuple[Scalar, Scalar, Scalar]:
        lower, upper, d = state
        # From the nearer end, so that either tail keeps its relative accuracy.
        near = _mass(
            view,
            jnp.where(u < 0.5, view.lower, d),
            jnp.where(u < 0.5, d, view.upper),
        )
        excess = jnp.where(u < 0.5, near / total - u, 1 - u - near / total)
        lower, upper = (
            jnp.where(excess < 0, d, lower),
            jnp.where(excess < 0, upper, d),
        )
        newton = d - excess * total * jnp.exp(_energy(view, d))
        # The bracket's ends count: a step of 0 has converged, and must not bisect.
        inside = (lower <= newton) & (newton <= upper)
        return lower, upper, jnp.where(inside, newton, (lower + upper) / 2)

    start = view.lower, view.upper, (view.lower + view.upper) / 2
    return jax.lax.fori_loop(0, 24, step, start)[2]


def _slope(
    view: _Window, d: Scalar, u: Scalar, score: Callable[[Array], Array]
) -> Scalar:
    """-(dF/dtheta) / p(d), where d log p / dtheta is the score less its expectation.

        int_lower^d (E score - score(d')) p(d') dd' / p(d)

    or the integral over (d, upper) with the other sign, whichever holds less mass.
    """
    mean_score = _expectation(view, score)
    left = u < 0.5

    def integrand(other: Array) -> Array:
        ratio = jnp.exp(_energy(view, d) - _energy(view, other))
        return (score(other) - mean_score) * ratio

    integral = gauss_legendre(
        integrand, jnp.where(left, view.lower, d), jnp.where(left, d, view.upper)
    )
    return jnp.where(left, -integral, integral)
