"""A model whose importance log-weights are known to the last digit.

The log-weights of an example x = (level, spread) are level + spread * n, with n the
rounding of eight times a standard normal draw: float32 holds them exactly.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core import Example, fold_examples
from vaejax.evaluation import log_likelihood
from vaejax.families import NormalParams
from vaejax.models import linear_gaussian

KEY = jax.random.key(8)
# Weights that agree to 1e-6, to 1e-2, ordinary ones, and ones of which one is all.
CASES = np.array(
    [(0, 2.0**-23), (0, 2.0**-10), (-100, 2.0**-13), (-100, 0.125), (0, 6.25), (0, 0)]
)
FIGURES = ("log_px", "monte_carlo_error", "effective_sample_size", "elbo", "elbo_error")


def _model():
    base = linear_gaussian((2,), latent_dim=1)
    no_density = {"log_prob": lambda dist_params, z: jnp.zeros(())}

    def log_weight(z, x):
        return x[0] + x[1] * jnp.round(8 * z[0])

    return dataclasses.replace(
        base,
        encode=lambda params, example: NormalParams(jnp.zeros(1), jnp.zeros(1)),
        decode=lambda params, z, y: z,
        posterior=dataclasses.replace(base.posterior, **no_density),
        latent_prior=dataclasses.replace(base.latent_prior, **no_density),
        likelihood=dataclasses.replace(base.likelihood, log_prob=log_weight),
    )


MODEL = _model()


def estimate(num_samples, cases=CASES, **settings):
    """The estimates of `log_likelihood` for the cases."""
    return log_likelihood(
        MODEL,
        MODEL.init(KEY),
        Example(jnp.asarray(cases, jnp.float32)),
        KEY,
        num_samples=num_samples,
        **settings,
    )


def expected(num_samples, cases=CASES):
    """The same figures in float64, from all the log-weights at once."""
    keys = fold_examples(KEY, jnp.arange(len(cases)))
    index = jnp.arange(num_samples)
    dist_params = NormalParams(jnp.zeros(1), jnp.zeros(1))
    sample = jax.vmap(MODEL.posterior.sample, (0, None))
    z = jax.vmap(lambda key: sample(fold_examples(key, index), dist_params))(keys)
    n = np.round(8 * np.asarray(z)[..., 0]).astype(float)
    log_w = cases[:, :1] + cases[:, 1:] * n
    peak = log_w.max(1, keepdims=True)
    excess = np.expm1(log_w - peak)  # w / max w - 1
    mean = 1 + excess.mean(1)
    relative = excess.var(1) / mean**2
    with np.errstate(divide="ignore", invalid="ignore"):  # of a single sample
        return {
            "log_px": peak[:, 0] + np.log(mean),
            "monte_carlo_error": np.sqrt(relative / (num_samples - 1)),
            "effective_sample_size": num_samples / (1 + relative),
            "elbo": log_w.mean(1),
            "elbo_error": log_w.std(1) / np.sqrt(num_samples - 1),
        }
