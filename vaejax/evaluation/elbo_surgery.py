"""ELBO surgery: the parts of the KL term of the ELBO.

    E_x KL(q(z|x) || p(z))  =  I_q(x; z)  +  KL(q(z) || p(z))
    KL(q(z) || p(z))        =  TC(q(z))   +  sum_j KL(q(z_j) || p(z_j))

with q(z) = 1/N sum_n q(z|x_n) and TC(q(z)) = KL(q(z) || prod_j q(z_j)), the second line
for priors whose coordinates are independent.

The estimator draws z ~ q(z|x_n) for every example n and takes log q(z) and log q(z_j)
from the whole mixture over the N examples, in chunks: N^2 S densities for S draws each.
It is unbiased for these N examples. As an estimate for their population, I_q is too
low, and at most log N, and KL(q(z) || p(z)) too high by as much.

Source: Hoffman and Johnson 2016, "ELBO surgery"; Chen et al. 2018, arXiv:1802.04942.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Event,
    Example,
    Family,
    IncompatibleError,
    Key,
    Model,
    Params,
    VaejaxError,
    check_data,
    fold_examples,
    log_probs,
)
from vaejax.core.doors import expect_counts, expect_params


class Estimate(NamedTuple):
    """A value in nats, or one for every latent, and its Monte Carlo standard error."""

    value: Float[np.ndarray, "*latents"]
    standard_error: Float[np.ndarray, "*latents"]


class ElboSurgery(NamedTuple):
    """The parts of the KL term; their values add up as the formulas say.

    A part is None where the coordinates of posterior or prior are not independent.
    """

    kl: Estimate  # E_x KL(q(z|x) || p(z))
    mutual_information: Estimate  # I_q(x; z)
    marginal_kl: Estimate  # KL(q(z) || p(z))
    total_correlation: Estimate | None  # TC(q(z))
    dimension_wise_kl: Estimate | None  # KL(q(z_j) || p(z_j)), [Z]
    kl_per_unit: Estimate | None  # E_x KL(q(z_j|x) || p(z_j)), [Z]


def elbo_surgery(
    model: Model,
    params: Params,
    examples: Example,
    key: Key,
    *,
    num_samples: int = 2,
    chunk_size: int = 16,
) -> ElboSurgery:
    """Split the KL term of the examples into its parts.

    Args:
        model: with a prior that is the same for all examples.
        params: its parameters.
        examples: every leaf [N, ...], as the model sees it.
        key: consumed.
        num_samples: S of each example, 2 or more, as the errors are from their spread.
        chunk_size: draws that are weighed against all N examples at once, at most.

    Raises:
        IncompatibleError: a prior that depends on labels or whose density is not
            normalised; a posterior without a density, or whose density at another's
            draws is too costly.
        VaejaxError: fewer than two samples.
    """
    if reason := _lacks(model):
        raise IncompatibleError(f"elbo_surgery refuses {model.name}: {reason}")
    expect_counts(num_samples=num_samples, chunk_size=chunk_size)
    if num_samples < 2:
        raise VaejaxError(
            f"num_samples is {num_samples}: use at least 2, for the errors"
        )
    expect_params(params, model)
    examples = check_data(model, examples)
    terms = _log_terms(model, num_samples, chunk_size, params, key, examples)
    own, marginals, prior, joint = (np.asarray(term, float) for term in terms)
    log_q, log_p = own.sum(-1), prior.sum(-1)
    known = model.posterior.factorised
    priors_known = known and model.latent_prior.factorised
    return ElboSurgery(
        kl=_estimate(log_q - log_p),
        mutual_information=_estimate(log_q - joint),
        marginal_kl=_estimate(joint - log_p),
        total_correlation=_estimate(joint - marginals.sum(-1)) if known else None,
        dimension_wise_kl=_estimate(marginals - prior) if priors_known else None,
        kl_per_unit=_estimate(own - prior) if priors_known else None,
    )


def _lacks(model: Model) -> str | None:
    """The reason why the KL term of the model has no such parts, or None."""
    if model.labels.num_classes is not None:
        return (
            "it compares q(z) with one prior, and the model has a prior for each "
            "label: use a model without labels"
        )
    if not model.latent_prior.normalized:
        return "its prior's density is known only up to a factor: use another prior"
    if not model.posterior.has_density:
        return (
            f"its posterior, {model.posterior.name}, has no density: use the "
            "posterior of a variational autoencoder"
        )
    if reason := model.posterior.own_samples.costly_log_prob:
        return f"every draw is weighed by all: {reason}"
    return None


def _estimate(terms: Float[np.ndarray, "N S *latents"]) -> Estimate:
    """The mean over S independent draws of each of N distributions, with its error."""
    count, num_samples = terms.shape[:2]
    variance = terms.var(1, ddof=1).sum(0) / num_samples / count**2
    return Estimate(terms.mean((0, 1)), np.sqrt(variance))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _log_terms(
    model: Model,
    num_samples: int,
    chunk_size: int,
    params: Params,
    key: Key,
    examples: Example,
) -> tuple[Array, Array, Array, Array]:
    """Log q(z_j|x), log q(z_j) and log p(z_j), [N, S, Z], and log q(z), [N, S].

    Where coordinates are not independent, Z = 1, the term of all of z.
    """
    posteriors = jax.vmap(partial(model.encode, params))(examples)
    count = len(jax.tree.leaves(posteriors)[0])
    prior = model.prior(params, None)

    def by_unit(family: Family, dist_params: DistParams, z: Event) -> Array:
        if family.factorised:
            return log_probs(family, dist_params, z)
        return family.log_prob(dist_params, z)[None]

    def one(draw: tuple[Array, Key]) -> tuple[Array, Array, Array, Array]:
        n, key = draw
        posterior = jax.tree.map(lambda leaf: leaf[n], posteriors)
        z = model.posterior.sample(key, posterior)
        own = by_unit(model.posterior, posterior, z)
        of_all = jax.vmap(lambda q: by_unit(model.posterior, q, z))(posteriors)
        marginals = logsumexp(of_all, axis=0) - jnp.log(count)
        joint = logsumexp(of_all.sum(1)) - jnp.log(count)
        return own, marginals, by_unit(model.latent_prior, prior, z), joint

    keys = jax.vmap(lambda k: jax.random.split(k, num_samples))(
        fold_examples(key, jnp.arange(count))
    )
    draws = jnp.repeat(jnp.arange(count), num_samples), keys.reshape(-1)
    terms = jax.lax.map(one, draws, batch_size=chunk_size)
    return jax.tree.map(
        lambda leaf: leaf.reshape(count, num_samples, *leaf.shape[1:]), terms
    )
