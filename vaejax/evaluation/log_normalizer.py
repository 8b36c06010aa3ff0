"""The normaliser of a prior whose density is known up to a factor only.

    Z = integral of exp(log_prob(z)) ~ 1/S sum_s exp(log_prob(z_s)) / r(z_s),  z_s ~ r

with the proposal r(z) = (q(z) + n(z)) / 2: the aggregated posterior of the examples,
where such a prior should have its mass, and a normal distribution twice as wide, which
finds what is outside. log p(x) under the prior is what its `log_prob` says, less log Z.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import Example, Key, Model, Params, VaejaxError

WIDER = 2.0  # the normal part's standard deviations over the aggregated posterior's
EXAMPLES = 2000  # that the aggregated posterior is made of, at most


class LogNormalizer(NamedTuple):
    """Log Z in nats, and its standard error (delta method)."""

    value: float
    error: float
    effective_sample_size: float  # (sum w)^2 / sum w^2


def log_normalizer(
    model: Model,
    params: Params,
    examples: Example,
    key: Key,
    *,
    num_samples: int = 4000,
) -> LogNormalizer:
    """Estimate the normaliser of `model.latent_prior` by importance sampling.

    Valid for: one layer of real latents, posteriors with a density, a prior that is the
    same for every label.

    Args:
        model: the model.
        params: its parameters.
        examples: observations, leaves [N, ...]; the first 2000 are taken.
        key: consumed.
        num_samples: S.

    Raises:
        VaejaxError: latents of another kind, or fewer than 2 samples.
    """
    shape = getattr(model.latent_shape, "shape", None)
    posterior = model.posterior
    if shape is None or posterior.reparam is None or not posterior.has_density:
        raise VaejaxError(
            f"the normaliser of {model.latent_prior.name} is estimated over one layer "
            f"of real latents with a density, and {model.name} has others: use "
            "diagonal_normal"
        )
    if num_samples < 2:
        raise VaejaxError(f"num_samples is {num_samples}: use at least 2")
    examples = jax.tree.map(lambda leaf: leaf[:EXAMPLES], examples)
    log_w = np.asarray(_log_weights(model, num_samples, params, examples, key), float)
    weights = np.exp(log_w - log_w.max())
    return LogNormalizer(
        value=float(np.log(weights.mean()) + log_w.max()),
        error=float(weights.std(ddof=1) / weights.mean() / np.sqrt(num_samples)),
        effective_sample_size=float(weights.sum() ** 2 / np.square(weights).sum()),
    )


@partial(jax.jit, static_argnums=(0, 1))
def _log_weights(
    model: Model,
    num_samples: int,
    params: Params,
    examples: Example,
    key: Key,
) -> Float[Array, " S"]:
    posterior, count = model.posterior, len(examples.x)
    row_key, sample_key, normal_key, part_key = jax.random.split(key, 4)
    # Half of them are samples, the others say where these lie.
    rows = jax.random.randint(row_key, (2 * num_samples,), 0, count)
    chosen = jax.tree.map(lambda leaf: leaf[rows], examples)

    def sample(key: Key, example: Example) -> Array:
        return posterior.sample(key, model.encode(params, example))

    drawn = jax.vmap(sample)(jax.random.split(sample_key, 2 * num_samples), chosen)
    near, others = jnp.split(drawn, 2)
    center, scale = others.mean(0), WIDER * others.std(0)
    noise = jax.random.normal(normal_key, near.shape)
    far = center[None] + scale[None] * noise
    is_near = jax.random.bernoulli(part_key, 0.5, (num_samples,))
    z = jnp.where(is_near.reshape(-1, *[1] * center.ndim), near, far)

    def of_example(example: Example) -> Float[Array, " S"]:
        dist_params = model.encode(params, example)
        return jax.vmap(posterior.log_prob, (None, 0))(dist_params, z)

    def add(total: Float[Array, " S"], example: Example) -> tuple[Array, None]:
        return jnp.logaddexp(total, of_example(example)), None

    aggregated, _ = jax.lax.scan(add, jnp.full(num_samples, -jnp.inf), examples)
    log_near = aggregated - jnp.log(count)
    residual = ((z - center[None]) / scale[None]).reshape(num_samples, -1)
    constant = jnp.log(scale).sum() + 0.5 * scale.size * jnp.log(2 * jnp.pi)
    log_far = -0.5 * jnp.square(residual).sum(1) - constant
    log_r = logsumexp(jnp.stack([log_near, log_far]), axis=0) - jnp.log(2.0)
    prior = model.prior(params, None)
    return jax.vmap(model.latent_prior.log_prob, (None, 0))(prior, z) - log_r
