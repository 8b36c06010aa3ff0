"""Anomaly scores of examples by a model of normal ones; a high score is anomalous.

Scores of x by the model alone:

* reconstruction error: the squared error of E p(x | z) at the mean of q(z | x);
* reconstruction probability: -E_q(z|x) log p(x | z) (An and Cho 2015);
* negative log-likelihood: -log p(x), by the importance-weighted bound.

All three rank images that are simpler than the normal ones as the more normal: fewer
pixels are uncertain, and a density is higher where there is less detail (Nalisnick et
al. 2019, arXiv:1810.09136). Two scores remove the part that any model would share:

* likelihood ratio: log p_0(x) - log p(x), with a background model p_0 that was trained
  on the same examples with some pixels replaced at random, so that p_0 learns the
  pixels' statistics but less of the content (Ren et al. 2019, arXiv:1906.02845);
* complexity-corrected: -log2 p(x) - L(x), with L(x) the bits that a lossless compressor
  needs, a likelihood ratio to a universal model (Serra et al. 2020, arXiv:1909.11480).
"""

import zlib
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    Example,
    Family,
    Key,
    Model,
    Params,
    VaejaxError,
    check_data,
    fold_examples,
)
from vaejax.core.doors import expect_counts, expect_params
from vaejax.evaluation.log_likelihood import log_likelihood
from vaejax.evaluation.reconstruction import reconstruction
from vaejax.terms import log_px_given


class AnomalyScores(NamedTuple):
    """Scores of every example; a higher score is more anomalous."""

    reconstruction_error: Float[np.ndarray, " N"]  # sum over coordinates
    reconstruction_probability: Float[np.ndarray, " N"]  # nats, negative
    negative_log_likelihood: Float[np.ndarray, " N"]  # nats
    likelihood_ratio: Float[np.ndarray, " N"]  # nats
    complexity_corrected: Float[np.ndarray, " N"]  # bits


def anomaly_scores(
    model: Model,
    params: Params,
    examples: Example,
    key: Key,
    *,
    background: tuple[Model, Params],
    num_samples: int = 100,
) -> AnomalyScores:
    """The scores of every example by a model of normal ones.

    Args:
        model: of discrete x, its posterior with a density.
        params: trained on normal examples.
        examples: every leaf [N, ...].
        key: consumed.
        background: the model p_0 and its parameters, trained on perturbed normal ones.
        num_samples: of every expectation and every log-likelihood.

    Raises:
        VaejaxError: a likelihood of real numbers, whose density is no code length; a
            background of other outcomes than the model's; what `log_likelihood`
            refuses.

    References:
        See the module.
    """
    own_key, background_key, z_key = jax.random.split(key, 3)
    levels = _levels(model.likelihood)
    if levels is None:
        raise VaejaxError(
            f"a {model.likelihood.name} has no levels to compress, and its density is "
            "no code length: use a likelihood such as bernoulli or discretized_logistic"
        )
    if model.likelihood.space.missing:
        raise VaejaxError(
            "anomaly_scores compresses whole observations, and the model's likelihood "
            "takes some with missing values: use log_likelihood or expected_log_px_z"
        )
    other = background[0].likelihood
    if _levels(other) != levels:
        raise VaejaxError(
            f"the background's {other.name} has other outcomes than the model's "
            f"{model.likelihood.name}, and their likelihoods have no ratio: use a "
            "background with the model's likelihood"
        )
    expect_counts(num_samples=num_samples)
    examples = check_data(model, examples)
    log_px = log_likelihood(
        model, params, examples, own_key, num_samples=num_samples
    ).log_px
    log_background = log_likelihood(
        *background, examples, background_key, num_samples=num_samples
    ).log_px
    expected = expected_log_px_z(
        model, params, examples, z_key, num_samples=num_samples
    )
    return AnomalyScores(
        reconstruction(model, params, examples).squared_error,
        -expected,
        -log_px,
        log_background - log_px,
        -log_px / np.log(2) - compressed_bits(np.asarray(examples.x), levels),
    )


def _levels(likelihood: Family) -> int | None:
    """The number of equally spaced levels in [0, 1] of a coordinate of x."""
    space = likelihood.space
    return 2 if space.kind == "bits" else space.levels


def expected_log_px_z(
    model: Model, params: Params, examples: Example, key: Key, *, num_samples: int
) -> Float[np.ndarray, " N"]:
    """E_q(z|x) log p(x | z) of every example, in nats, by Monte Carlo."""
    expect_counts(num_samples=num_samples)
    expect_params(params, model)
    examples = check_data(model, examples)
    return np.asarray(_expected_log_px_z(model, num_samples, params, examples, key))


@partial(jax.jit, static_argnums=(0, 1))
def _expected_log_px_z(
    model: Model, num_samples: int, params: Params, examples: Example, key: Key
) -> Array:
    def one(numbered: tuple[Key, Example]) -> Array:
        own, example = numbered
        q = model.encode(params, example)

        def draw(key: Key) -> Array:
            found = model.decode(params, model.posterior.sample(key, q), example.y)
            return log_px_given(model, found, example.x)

        return jax.vmap(draw)(jax.random.split(own, num_samples)).mean()

    keys = fold_examples(key, jnp.arange(len(examples.x)))
    return jax.lax.map(one, (keys, examples), batch_size=64)


def compressed_bits(
    x: Float[np.ndarray, "N ..."], levels: int
) -> Float[np.ndarray, " N"]:
    """The length of every x, of `levels` equal levels in [0, 1], as compressed by zlib.

    A level is written as one byte, and above 256 levels as two.

    Raises:
        VaejaxError: fewer than 2 levels or more than 65,536; x outside [0, 1].
    """
    x = np.asarray(x)
    if not 2 <= levels <= 2**16:
        raise VaejaxError(f"levels is {levels}: use 2 to 65,536, which 2 bytes hold")
    if not ((x >= 0) & (x <= 1)).all():  # this form refuses NaN too
        raise VaejaxError(
            f"x is from {np.min(x)} to {np.max(x)}, and its levels lie in [0, 1]: "
            "divide intensities from 0 to 255 by 255"
        )
    written = np.rint(x * (levels - 1)).astype(np.uint8 if levels <= 256 else np.uint16)
    return np.array([8.0 * len(zlib.compress(one.tobytes(), 9)) for one in written])
