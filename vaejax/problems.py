"""Problems made from a problem: its two halves, and other weights of the KL."""

import dataclasses

import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    Bound,
    DistParams,
    Example,
    LogTerms,
    Model,
    Params,
    Problem,
    Scalar,
)


def split(problem: Problem) -> tuple[Problem, Problem]:
    """Split a problem in two, for the model and for the posterior alone.

    The model's problem stops the path through `encode`, the posterior's the paths
    through `decode` and `prior`, for all parameters: a prior may use the encoder's.
    """
    model, bound = problem.model, problem.bound
    assert bound.inference is not None
    given_posterior = dataclasses.replace(
        model,
        encode=lambda params, example: model.encode(stop_gradient(params), example),
    )
    given_model = dataclasses.replace(
        model,
        decode=lambda params, z, y: model.decode(stop_gradient(params), z, y),
        prior=lambda params, y: model.prior(stop_gradient(params), y),
    )
    alone = dataclasses.replace(bound, inference=None)
    return (
        dataclasses.replace(problem, model=given_posterior, bound=alone),
        dataclasses.replace(problem, model=given_model, bound=bound.inference),
    )


def weigh_kl(problem: Problem, beta: Scalar | float) -> Problem:
    """Multiply the weight of the KL divergence in the problem's bound by beta.

    In the log-weights, log p(z) and log q(z|x) are multiplied by beta; so is a KL in
    closed form. The new bound states no relation to log p(x).
    """

    def weighed(bound: Bound) -> Bound:
        def log_weight(terms: LogTerms) -> Float[Array, " K"]:
            return bound.log_weight(
                LogTerms(terms.log_px_z, beta * terms.log_pz, beta * terms.log_qz)
            )

        def penalty(
            model: Model, params: Params, dist_params: DistParams, example: Example
        ) -> Scalar:
            assert bound.penalty is not None
            return beta * bound.penalty(model, params, dist_params, example)

        return dataclasses.replace(
            bound,
            log_weight=log_weight,
            relation="none",
            penalty=None if bound.penalty is None else penalty,
            inference=None if bound.inference is None else weighed(bound.inference),
        )

    return dataclasses.replace(problem, bound=weighed(problem.bound))


def weight_of_kl(bound: Bound) -> float:
    """The weight beta of the KL divergence in a bound, 1 unless it is tempered."""
    if bound.penalty is not None:
        return 1.0
    zero, one = jnp.zeros(1), jnp.ones(1)
    return float(bound.log_weight(LogTerms(zero, one, zero))[0])
