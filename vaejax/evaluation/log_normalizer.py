"""The normaliser of a prior whose density is known up to a factor only.

    Z = integral of f(z),   f = exp(log_prob),

by annealed importance sampling (Neal 2001): chains start at samples of n(z), a normal
distribution fitted to the aggregated posterior, and pass through the densities
n^(1 - beta) f^beta, beta from 0 to 1, by Hamiltonian steps. A chain's weight is the
product over beta of (f / n)^(difference of beta), and Z the weights' mean. log p(x)
under the prior is log p(x) under its `log_prob`, less log Z.

Log Z is too low rather than too high: by Jensen's inequality, and where no chain
reaches a mass that n misses.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Example, Key, Model, Params, Scalar, VaejaxError, check_data
from vaejax.core.doors import expect_counts, expect_params

EXAMPLES = 5000  # the most examples that n is fitted to
LEAPS = 5  # leapfrog steps of a Hamiltonian step
ACCEPTED = 0.65  # the acceptance rate that the step size is steered to


class LogNormalizer(NamedTuple):
    """Log Z in nats, and its standard error (delta method)."""

    value: float
    error: float
    effective_sample_size: float  # (sum w)^2 / sum w^2 of the chains


def log_normalizer(
    model: Model,
    params: Params,
    examples: Example,
    key: Key,
    *,
    num_chains: int = 500,
    num_steps: int = 500,
) -> LogNormalizer:
    """Estimate the normaliser of `model.latent_prior` by annealed importance sampling.

    Valid for: one layer of real latents; a prior that is the same for every label.

    Args:
        model: the model.
        params: its parameters.
        examples: observations, leaves [N, ...]; the first 5000 are taken.
        key: consumed.
        num_chains: whose weights are averaged.
        num_steps: from n to the prior.

    Raises:
        VaejaxError: latents of another kind, or too few chains or steps.
    """
    if getattr(model.latent_shape, "shape", None) is None or (
        model.posterior.reparam is None
    ):
        raise VaejaxError(
            f"the normaliser of {model.latent_prior.name} is estimated over one layer "
            f"of real latents, and {model.name} has other latents: use the posterior "
            "diagonal_normal"
        )
    expect_counts(2, num_chains=num_chains)
    expect_counts(num_steps=num_steps)
    expect_params(params, model)
    examples = check_data(model, examples)
    examples = jax.tree.map(lambda leaf: leaf[:EXAMPLES], examples)
    found = _log_weights(model, num_chains, num_steps, params, examples, key)
    log_w = np.asarray(found, float)
    weights = np.exp(log_w - log_w.max())
    return LogNormalizer(
        value=float(np.log(weights.mean()) + log_w.max()),
        error=float(weights.std(ddof=1) / weights.mean() / np.sqrt(num_chains)),
        effective_sample_size=float(weights.sum() ** 2 / np.square(weights).sum()),
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def _log_weights(
    model: Model,
    num_chains: int,
    num_steps: int,
    params: Params,
    examples: Example,
    key: Key,
) -> Float[Array, " chains"]:
    fit_key, start_key, chain_key = jax.random.split(key, 3)

    def sample(key: Key, example: Example) -> Array:
        return model.posterior.sample(key, model.encode(params, example))

    codes = jax.vmap(sample)(jax.random.split(fit_key, len(examples.x)), examples)
    center, scale = codes.mean(0), codes.std(0)
    prior = model.prior(params, None)

    # In units of n, in which n is the standard normal distribution.
    def log_end(u: Array) -> Scalar:
        log_f = model.latent_prior.log_prob(prior, center + scale * u)
        return log_f + jnp.log(scale).sum()

    def log_start(u: Array) -> Scalar:
        return -0.5 * (jnp.square(u) + jnp.log(2 * jnp.pi)).sum()

    start = jax.random.normal(start_key, (num_chains, *center.shape))
    return _anneal(log_start, log_end, start, num_steps, chain_key)


def _anneal(
    log_start: Callable[[Array], Scalar],
    log_end: Callable[[Array], Scalar],
    start: Float[Array, "chains ..."],
    num_steps: int,
    key: Key,
) -> Float[Array, " chains"]:
    """The log-weights of chains that start at samples of `log_start`."""

    def log_density(beta: Array, u: Array) -> Scalar:
        return (1 - beta) * log_start(u) + beta * log_end(u)

    slopes = jax.vmap(jax.grad(log_density, argnums=1), (None, 0))
    densities = jax.vmap(log_density, (None, 0))
    gains = jax.vmap(lambda u: log_end(u) - log_start(u))

    def step(carry: tuple, beta: Array) -> tuple[tuple, None]:
        u, log_w, before, size, number = carry
        log_w += (beta - before) * gains(u)
        push_key, accept_key = jax.random.split(jax.random.fold_in(key, number))
        momentum = jax.random.normal(push_key, u.shape)
        v, end = u, momentum + 0.5 * size * slopes(beta, u)
        for leap in range(LEAPS):
            v += size * end
            end += (1.0 if leap < LEAPS - 1 else 0.5) * size * slopes(beta, v)
        axes = tuple(range(1, u.ndim))
        kinetic = 0.5 * (jnp.square(momentum) - jnp.square(end)).sum(axes)
        log_ratio = densities(beta, v) - densities(beta, u) + kinetic
        accepted = jnp.log(jax.random.uniform(accept_key, log_ratio.shape)) < log_ratio
        u = jnp.where(accepted.reshape(-1, *[1] * (u.ndim - 1)), v, u)
        size *= jnp.where(accepted.mean() > ACCEPTED, 1.02, 0.98)
        return (u, log_w, beta, size, number + 1), None

    betas = jnp.linspace(0.0, 1.0, num_steps + 1)[1:]
    zero, initial = jnp.zeros(()), jnp.asarray(0.2)
    carry = start, jnp.zeros(len(start)), zero, initial, jnp.int32(0)
    (_, log_w, *_), _ = jax.lax.scan(step, carry, betas)
    return log_w
