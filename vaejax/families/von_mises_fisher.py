"""The von Mises-Fisher distribution on the sphere of unit vectors in D dimensions.

    p(z) = exp(kappa mu'z) / C(kappa),
    C(kappa) = |S^(D-2)| int exp(kappa w) (1 - w^2)^((D-3)/2) dw,   w in [-1, 1]

Samples are z = w mu + sqrt(1 - w^2) v, with v uniform on the directions orthogonal to
mu. `spherical_gap` has the distribution of w, and its derivative in kappa. As latents
of a variational autoencoder: Davidson et al. 2018, arXiv:1804.00891.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import Family, IncompatibleError, Key, Scalar, Space
from vaejax.families.heads import two_outputs
from vaejax.families.spherical_gap import (
    gap_divergence,
    log_scaled_normaliser,
    mean_gap,
    sample_gap,
)
from vaejax.ops.random import one_pass


class VonMisesFisherParams(NamedTuple):
    """Mean direction, of any length above 0, and log concentration."""

    direction: Float[Array, "*event"]
    log_concentration: Scalar


def von_mises_fisher() -> Family:
    """Unit vectors around a mean direction, implicitly reparameterised.

    D is the size of the event, 2 or more. Densities are taken over the sphere's
    surface. A network puts out two numbers per coordinate: the direction, and numbers
    whose mean is the log concentration. In float32, concentrations up to 1e6.
    """
    return Family(
        name="von_mises_fisher",
        sample=_sample,
        log_prob=_log_prob,
        mean=_mean,
        head=two_outputs(
            lambda direction, row: VonMisesFisherParams(direction, row.mean()), _at_mean
        ),
        space=Space("sphere"),
        reparam="implicit",
        kl=_kl,
        quadrature=_quadrature,
    )


def uniform_on_sphere(dim: int) -> VonMisesFisherParams:
    """Parameters of the uniform distribution: a concentration of 1e-9."""
    direction = jnp.zeros(dim).at[0].set(1.0)
    return VonMisesFisherParams(direction, jnp.log(1e-9))


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
    """kappa_q E w (1 - mu_p'mu_q), and the divergence of the gaps."""
    dim = p.direction.size
    kappa, other = jnp.exp(p.log_concentration), jnp.exp(q.log_concentration)
    mu, nu = _unit(p.direction), _unit(q.direction)
    angle = jnp.square(mu - nu).sum() / 2  # 1 - mu'nu
    between = other * (1 - mean_gap(kappa, dim)) * angle
    return between + gap_divergence(kappa, other, dim)


def _quadrature(
    params: VonMisesFisherParams, num_nodes: int
) -> tuple[Float[Array, "nodes 2"], Float[Array, " nodes"]]:
    """Nodes at equal steps around the circle; the weights carry the gradient."""
    if params.direction.size != 2:
        raise IncompatibleError(
            f"von_mises_fisher latents in {params.direction.size} dimensions are not "
            "integrated: use 2 dimensions, or compare with a reference estimator"
        )
    angle = 2 * np.pi / num_nodes * jnp.arange(num_nodes)
    z = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    z = z.astype(params.direction.dtype).reshape(-1, *params.direction.shape)
    density = jnp.exp(jax.vmap(_log_prob, (None, 0))(params, z))
    return z, 2 * np.pi / num_nodes * density


def _at_mean(mean: Float[Array, "*event"]) -> tuple[Array, Array]:
    """The concentration at which E w is the length of this mean, by bisection."""
    length = jnp.clip(jnp.sqrt(jnp.square(mean).sum()), 0.001, 0.999)

    def bisect(_: Array, bounds: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        below, above = bounds
        middle = (below + above) / 2
        short = 1 - mean_gap(jnp.exp(middle), mean.size) < length
        return jnp.where(short, middle, below), jnp.where(short, above, middle)

    ends = jnp.full_like(length, -8.0), jnp.full_like(length, np.log(1e3 * mean.size))
    log_kappa, _ = jax.lax.fori_loop(0, 40, bisect, ends)
    return mean, jnp.broadcast_to(log_kappa, mean.shape)


def _sample(key: Key, params: VonMisesFisherParams) -> Float[Array, "*event"]:
    gap_key, tangent_key = jax.random.split(key)
    shape, dim = params.direction.shape, params.direction.size
    kappa = jnp.exp(params.log_concentration)
    gap = sample_gap(gap_key, kappa, dim)
    noise = jax.random.normal(one_pass(tangent_key), (dim - 1,), kappa.dtype)
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
