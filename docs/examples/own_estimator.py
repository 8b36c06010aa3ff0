"""A gradient estimator of your own, and the proof that it is unbiased.

    python docs/examples/own_estimator.py

The score function with each sample's neighbour as its baseline: with f_k = log_w_k,

    sum_k (f_k - f_{k+1}) / K  grad log q(z_k; lam)

The samples are independent: no baseline sees its sample. Three binary latents have
eight outcomes, which give the exact gradient.
"""

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from vaejax import Batch, Estimator, Example, Problem, Verdict, make_objective
from vaejax.benchmark import gradient_moments
from vaejax.bounds import elbo
from vaejax.exact import value_and_gradient
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


def main(draws: int = 100_000) -> float:
    """Print the largest deviation of the mean gradient from the exact, in errors."""
    model = sigmoid_belief_network(data_shape=(4,), latent_dim=3)
    params = jax.tree.map(lambda leaf: leaf + 0.5, model.init(jax.random.key(0)))
    batch = Batch(Example(jnp.array([[1.0, 0.0, 1.0, 1.0]])), jnp.arange(1))
    problem = Problem(model=model, bound=elbo(), num_samples=4)
    exact = value_and_gradient(problem, params, batch.example).gradient
    objective = make_objective(model, elbo(), neighbour(), num_samples=4)
    arguments = objective, params, (), jax.random.key(2), batch
    moments = gradient_moments(*arguments, draws=draws)
    z_scores = jax.tree.map(
        # The objective is minimised: its gradient is minus the bound's.
        lambda mean, variance, truth: (mean + truth) / jnp.sqrt(variance / draws),
        moments.mean.encoder,
        moments.variance.encoder,
        exact.encoder,
    )
    largest = max(float(abs(z).max()) for z in jax.tree.leaves(z_scores))
    print(f"largest |mean - exact| in standard errors: {largest:.1f}")
    return largest


if __name__ == "__main__":
    main()
