"""A gradient estimator of your own, and a test that it is unbiased.

    python docs/examples/own_estimator.py

The score function with each sample's neighbour as its baseline: with f_k = log_w_k,

    sum_k (f_k - f_{k+1}) / K  grad log q(z_k; lam)

The samples are independent: no baseline sees its sample. Three binary latents have
eight outcomes, which give the exact gradient.
"""

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from vaejax import Estimator, Example, Problem, Verdict, check_unbiased
from vaejax.benchmark import BiasCheck
from vaejax.bounds import elbo
from vaejax.models import sigmoid_belief_network
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    require,
    sample_posterior,
    with_value,
)


def neighbour() -> Estimator:
    """The score function; the next sample is each one's baseline."""

    def surrogate(problem, params, state, key, example):
        lam, z = sample_posterior(problem, params, key, example)
        terms = log_terms(problem.model, params, lam, stop_gradient(z), example)
        value = bound_value(problem, params, lam, example, terms)
        f = stop_gradient(problem.bound.log_weight(terms))
        weights = (f - jnp.roll(f, -1)) / problem.num_samples
        score = jnp.dot(weights, terms.log_qz)
        # Its value is the bound; its gradient is the estimate.
        return with_value(value + score, value), make_stats(value, terms)

    def check(problem: Problem) -> Verdict:
        k, bound = problem.num_samples, problem.bound
        return (
            require(k >= 2, "one sample has no neighbour", "use num_samples >= 2")
            or require(bound.is_linear(k), f"{bound.name} is no mean", "use vimco")
            or Verdict("unbiased", "a neighbour does not see the sample")
        )

    return Estimator(name="neighbour", surrogate=surrogate, check=check)


def main(draws: int = 100_000) -> BiasCheck:
    """Print whether the mean of so many gradients is the gradient of the bound."""
    model = sigmoid_belief_network(data_shape=(4,), latent_dim=3)
    params = jax.tree.map(lambda leaf: leaf + 0.5, model.init(jax.random.key(0)))
    verdict = check_unbiased(
        neighbour(),
        elbo(),
        model,
        params,
        Example(jnp.array([[1.0, 0.0, 1.0, 1.0]])),
        num_samples=4,
        draws=draws,
        key=jax.random.key(1),
    )
    print(verdict)
    return verdict


if __name__ == "__main__":
    main()
