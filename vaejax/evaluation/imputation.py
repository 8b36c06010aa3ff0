"""Imputation of missing values by self-normalised importance sampling.

With z_k ~ q(z | x_o) and w_k = p(x_o | z_k) p(z_k) / q(z_k | x_o), normalised to sum 1,

    single:    E[h(x_m) | x_o] ~ sum_k w_k E[h(x_m) | z_k]
    multiple:  x_m ~ p(x_m | z_k) with k drawn by the weights w

(Mattei and Frellsen 2019, arXiv:1812.02633, section 3). Both tend to the model's own
p(x_m | x_o) as the number of samples grows; the effective sample size says how near.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    Event,
    Example,
    Key,
    Model,
    Params,
    Space,
    VaejaxError,
    check_data,
    fold_examples,
    plain,
)
from vaejax.core.doors import expect, expect_counts, expect_key, expect_params
from vaejax.evaluation.inpainting import check_density
from vaejax.evaluation.log_likelihood import effective_sample_size
from vaejax.terms import log_terms


class Imputed(NamedTuple):
    """Observations with their gaps filled; what was observed is as given."""

    # The conditional mean; of bits and classes, the most probable, and of counts and
    # levels the nearest to the mean.
    x: Float[np.ndarray, "N ..."]
    draws: Float[np.ndarray, "N M ..."]  # from p(x_m | x_o), by resampling
    effective_sample_size: Float[np.ndarray, " N"]  # (sum w)^2 / sum w^2, 1 to K


def impute(
    model: Model,
    params: Params,
    examples: Example,
    key: Key,
    num_samples: int = 1000,
    *,
    num_draws: int = 10,
) -> Imputed:
    """Fill what is missing from p(x_m | x_o): once by its mean, and by several draws.

    Args:
        model: whose likelihood takes missing values, its posterior with a density.
        params: its parameters.
        examples: x, [N, *event], NaN where a value is missing.
        key: consumed; example n uses `fold_in(key, n)`.
        num_samples: K, of every example.
        num_draws: M, each of all gaps of an example together.

    Raises:
        VaejaxError: a likelihood that takes no missing values, a posterior without a
            density, numbers below 1; what `check_data` refuses.

    References:
        Mattei and Frellsen 2019, arXiv:1812.02633; multiple imputation: Rubin 1987.

    Examples:
        >>> model = gaussian_mlp((2,), latent_dim=1, hidden=(4,),
        ...     likelihood="diagonal_normal", likelihood_settings={"missing": True})
        >>> x, key = jnp.array([[0.5, jnp.nan]]), jax.random.key(0)
        >>> filled = impute(model, model.init(key), Example(x), key, 100)
        >>> filled.x.shape, filled.draws.shape, float(filled.x[0, 0])
        ((1, 2), (1, 10, 2), 0.5)
    """
    expect_params(params, expect(Model, "model", model))
    expect_key(key)
    expect_counts(num_samples=num_samples, num_draws=num_draws)
    check_density(model)
    examples = check_data(model, examples)
    if not model.likelihood.space.missing:
        raise VaejaxError(
            f"the likelihood {model.likelihood.name} takes no missing values: build "
            "the model with likelihood_settings={'missing': True}, or likelihood="
            "'columns'"
        )
    found = _impute(model, num_samples, num_draws, params, key, examples)
    return Imputed(*map(np.asarray, found))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _impute(
    model: Model,
    num_samples: int,
    num_draws: int,
    params: Params,
    key: Key,
    examples: Example,
) -> tuple[Array, Array, Array]:
    family = model.likelihood

    def one(numbered: tuple[Key, Example]) -> tuple[Array, Array, Array]:
        key, example = numbered
        z_key, x_key, pick_key, draw_key = jax.random.split(key, 4)
        q = model.encode(params, example)
        z = jax.vmap(model.posterior.sample, (0, None))(
            jax.random.split(z_key, num_samples), q
        )
        log_w = plain(log_terms(model, params, q, z, example))
        weights = jax.nn.softmax(log_w)

        def complete(key: Key, z: Event) -> tuple[Array, Array]:
            given = model.decode(params, z, example.y)
            return family.mean(given), family.sample(key, given)

        means, drawn = jax.vmap(complete)(jax.random.split(x_key, num_samples), z)
        best = _best(family.space, weights, means, drawn)
        picked = jax.random.categorical(pick_key, log_w, shape=(num_draws,))
        chosen = jax.tree.map(lambda leaf: leaf[picked], z)
        _, draws = jax.vmap(complete)(jax.random.split(draw_key, num_draws), chosen)
        missing = jnp.isnan(example.x)
        return (
            jnp.where(missing, best, example.x),
            jnp.where(missing, draws, example.x),
            effective_sample_size(log_w),
        )

    keys = fold_examples(key, jnp.arange(len(examples.x)))
    return jax.lax.map(one, (keys, examples), batch_size=16)


def _best(
    space: Space,
    weights: Float[Array, " K"],
    means: Float[Array, "K ..."],
    drawn: Float[Array, "K ..."],
) -> Float[Array, "*event"]:
    """The value to impute: a mean, an outcome near the mean, or the likeliest class."""
    if space.columns:
        each = [
            _best(column, weights, means[:, i], drawn[:, i])
            for i, column in enumerate(space.columns)
        ]
        return jnp.stack(each)
    if space.kind == "classes":
        assert space.levels is not None
        votes = jnp.tensordot(
            weights, jax.nn.one_hot(drawn.astype(int), space.levels), 1
        )
        return votes.argmax(-1).astype(means.dtype)
    mean = jnp.tensordot(weights, means, 1)
    steps = {"bits": 1, "counts": 1, "levels": (space.levels or 2) - 1}.get(space.kind)
    return mean if steps is None else jnp.round(mean * steps) / steps
