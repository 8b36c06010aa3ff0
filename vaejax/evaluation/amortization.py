"""The amortization gap: the ELBO that an encoder loses to per-example posteriors.

    gap(x) = max_lam ELBO(lam; x) - ELBO(encoder(x); x) >= 0

Source: Cremer, Li and Duvenaud 2018, arXiv:1801.03558.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Example,
    Key,
    Model,
    Params,
    Scalar,
    check_data,
    fold_examples,
    plain,
)
from vaejax.core.doors import expect_counts, expect_params
from vaejax.models.semi_amortized import refine, require_refinable
from vaejax.terms import weigh_own_samples


class AmortizationGap(NamedTuple):
    """ELBOs per example, in nats, and the Monte Carlo error of their difference."""

    amortized: Float[np.ndarray, " N"]  # the ELBO of the encoder's posterior
    refined: Float[np.ndarray, " N"]  # the ELBO of the refined posterior
    monte_carlo_error: Float[np.ndarray, " N"]

    def summary(self) -> dict[str, float]:
        """The mean gap, its Monte Carlo error and its spread over examples."""
        gap = (self.refined - self.amortized).astype(float)
        errors = self.monte_carlo_error.astype(float)
        return {
            "amortization_gap": float(gap.mean()),
            "monte_carlo_error": float(np.sqrt((errors**2).sum()) / len(gap)),
            "spread": float(gap.std()),
            "amortized_elbo": float(self.amortized.mean(dtype=float)),
            "refined_elbo": float(self.refined.mean(dtype=float)),
        }


def amortization_gap(
    model: Model,
    params: Params,
    examples: Example,
    key: Key,
    *,
    num_steps: int = 500,
    step_size: float = 0.02,
    num_samples: int = 1000,
) -> AmortizationGap:
    """Refine every example's posterior from the encoder's, and compare their ELBOs.

    The ELBOs are estimated on noise that the refinement has not seen, the same for
    both. A refinement that has not converged after `num_steps` makes the gap too small.

    Args:
        model: with a reparameterisable posterior without weights of its own.
        params: its parameters.
        examples: every leaf [N, ...], as the model sees it.
        key: consumed.
        num_steps: of Adam.
        step_size: at first; it falls to zero along a cosine.
        num_samples: that the ELBOs are estimated with.

    Raises:
        IncompatibleError: a posterior that is not, as a flow.
    """
    require_refinable(model)
    expect_counts(num_steps=num_steps, num_samples=num_samples)
    expect_params(params, model)
    examples = check_data(model, examples)
    keys = fold_examples(key, jnp.arange(len(examples.x)))
    one = partial(_one, model, params, num_steps, step_size, num_samples)
    found = jax.jit(partial(jax.lax.map, lambda pair: one(*pair)))((keys, examples))
    return AmortizationGap(*map(np.asarray, found))


def _one(
    model: Model,
    params: Params,
    num_steps: int,
    step_size: float,
    num_samples: int,
    key: Key,
    example: Example,
) -> tuple[Scalar, Scalar, Scalar]:
    refine_key, key = jax.random.split(key)
    start = model.encode(params, example)
    own = refine(
        model,
        params,
        start,
        example,
        refine_key,
        num_steps=num_steps,
        step_size=optax.cosine_decay_schedule(step_size, num_steps),
    )
    keys = jax.random.split(key, num_samples)

    def log_weights(dist_params: DistParams) -> Float[Array, " S"]:
        return plain(weigh_own_samples(model, params, dist_params, keys, example))

    before, after = log_weights(start), log_weights(own)
    error = (after - before).std() / jnp.sqrt(num_samples)
    return before.mean(), after.mean(), error
