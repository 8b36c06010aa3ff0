"""Exact values and gradients of expected bounds, for models small enough to integrate.

An expectation over q(z|x) becomes a weighted sum over nodes: every outcome of a
discrete posterior, or a quadrature rule of a continuous one whose nodes are doubled
until value and gradient converge. `vaejax.expected_bound` integrates all K samples of a
bound over these nodes, at any K.

A closed-form ELBO of a model (`Extras.exact_elbo`) is differentiated directly.
Everything runs in float64.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import (
    Bound,
    Estimator,
    Event,
    Example,
    Expectation,
    IncompatibleError,
    Integrand,
    Model,
    Params,
    Problem,
    PyTree,
    Scalar,
    VaejaxError,
    check_data,
    plain,
)
from vaejax.core.doors import expect_params
from vaejax.expected_bound import expected_bound, product_rule
from vaejax.problems import split
from vaejax.terms import log_terms, penalty, with_value

MAX_NODES = 2**16  # the most outcomes of one sample in a sum
MASS_TOLERANCE = 1e-5  # tolerance of the sum of the nodes' probabilities, which is 1


class Exact(NamedTuple):
    """The expected bound, mean over the examples, and its gradient, in float64."""

    value: float
    gradient: Params


def value_and_gradient(
    problem: Problem,
    params: Params,
    examples: Example,
    *,
    estimator: Estimator | None = None,
    tolerance: float = 1e-7,
) -> Exact:
    """E F(log_w), mean over the examples, and its gradient, converged to `tolerance`.

    Args:
        problem: model, bound and K.
        params: where the gradient is taken.
        examples: every leaf [B, ...].
        estimator: take the gradient of this estimator's own target, if it has one.
        tolerance: doubling the nodes moves nothing by more than this, relative to the
            largest entry of the gradient (or to 1).

    Raises:
        IncompatibleError: the posterior can be neither enumerated nor integrated, or is
            too large.
        VaejaxError: the nodes ran out before the result stopped moving.
    """
    own_target = estimator is not None and estimator.target is not None
    with jax.enable_x64(True):
        expect_params(params, problem.model)
        examples = check_data(problem.model, examples)
        params, examples = jax.tree.map(_as_float64, (params, examples))
        exact_elbo = problem.model.extras.exact_elbo
        if _is_plain_elbo(problem) and exact_elbo and not own_target:
            value, gradient = jax.device_get(_closed_form(exact_elbo, params, examples))
            return Exact(float(value), gradient)

        def integrate(num_nodes: int) -> tuple[PyTree, np.ndarray]:
            # Outcomes are as many at any number of nodes: they compile once.
            counted = problem.model.posterior.outcomes is not None
            integral = _integral(problem, estimator, 0 if counted else num_nodes)
            found = integral(params, examples, 4 * num_nodes)
            (value, mass), gradient = jax.device_get(found)
            return (value, gradient), mass

        value, gradient = _converged(integrate, tolerance, problem.bound.name)
        return Exact(float(value), gradient)


def log_moment(
    model: Model,
    params: Params,
    examples: Example,
    *,
    order: float = 1.0,
    tolerance: float = 1e-7,
) -> Float[np.ndarray, " B"]:
    """Log E_q w^order of every example, in nats: log p(x) at order 1, in float64.

    With w = p(x, z) / q(z | x) the relative variance of the weights, Var(w) / p(x)^2,
    is `expm1(log_moment(order=2) - 2 * log_moment(order=1))`.

    Args:
        model: whose posterior can be enumerated or integrated.
        params: its parameters.
        examples: every leaf [B, ...].
        order: of the moment.
        tolerance: doubling the nodes moves nothing by more than this, relative to the
            largest entry (or to 1).

    Raises:
        IncompatibleError: the posterior can be neither enumerated nor integrated, or is
            too large.
        VaejaxError: the nodes ran out before the moment stopped moving, as those of an
            infinite moment do.
    """
    with jax.enable_x64(True):
        expect_params(params, model)
        examples = check_data(model, examples)
        params, examples = jax.tree.map(_as_float64, (params, examples))

        def integrate(num_nodes: int) -> tuple[PyTree, np.ndarray]:
            return jax.device_get(_moments(model, num_nodes, params, examples, order))

        return _converged(integrate, tolerance, f"moment of order {order:g}")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _moments(
    model: Model, num_nodes: int, params: Params, examples: Example, order: Scalar
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """The log-moment of every example, and the total weight of its nodes."""

    def one(example: Example) -> tuple[Scalar, Scalar]:
        z, weights = _nodes(model, params, example, num_nodes)
        terms = log_terms(model, params, model.encode(params, example), z, example)
        return logsumexp(order * plain(terms), b=weights), weights.sum()

    return jax.lax.map(one, examples)


def _converged(
    integrate: Callable[[int], tuple[PyTree, np.ndarray]], tolerance: float, what: str
) -> PyTree:
    """The result of `integrate(num_nodes)`, converged in the nodes, at a mass of 1."""
    previous = None
    for num_nodes in (64, 128, 256, 512, 1024, 2048):
        try:
            current, mass = integrate(num_nodes)
        except IncompatibleError:
            if previous is None:
                raise
            break  # the integral has no finer rule
        # Nodes that all miss q would agree on a wrong result.
        complete = np.abs(mass - 1).max() < MASS_TOLERANCE
        if (
            complete
            and previous is not None
            and _distance(current, previous) < tolerance
        ):
            return current
        previous = current
    raise VaejaxError(
        f"the exact {what} did not converge to {tolerance}: use a larger tolerance, or "
        "parameters at which log w varies less"
    )


def _is_plain_elbo(problem: Problem) -> bool:
    """True if E F is E log w at any K."""
    bound = problem.bound
    return (
        bound.log_weight is plain
        and bound.penalty is None
        and bound.inference is None
        and bound.is_linear(problem.num_samples)
    )


@functools.partial(jax.jit, static_argnums=0)
def _closed_form(
    exact_elbo: Callable[[Params, Array], Scalar], params: Params, examples: Example
) -> tuple[Scalar, Params]:
    def mean_elbo(params: Params) -> Scalar:
        return jax.vmap(exact_elbo, (None, 0))(params, examples.x).mean()

    return jax.value_and_grad(mean_elbo)(params)


@functools.lru_cache(maxsize=16)  # other parameters reuse the compiled program
def _integral(
    problem: Problem, estimator: Estimator | None, num_nodes: int
) -> Callable[[Params, Example, int], tuple[tuple[Scalar, Array], Params]]:
    """Compile the mean target, its gradient, and each example's total node weight."""

    def mean_target(
        params: Params, examples: Example, num_steps: Array
    ) -> tuple[Scalar, Array]:
        def one(example: Example) -> tuple[Scalar, Scalar]:
            return _target(problem, estimator, num_nodes, num_steps, params, example)

        targets, masses = jax.lax.map(one, examples)
        return targets.mean(), masses

    return jax.jit(jax.value_and_grad(mean_target, has_aux=True))


def _target(
    problem: Problem,
    estimator: Estimator | None,
    num_nodes: int,
    num_steps: Array,
    params: Params,
    example: Example,
) -> tuple[Scalar, Scalar]:
    """The expected bound, with the target's gradient, and the nodes' total weight."""
    if problem.bound.inference is not None:
        (of_model, mass), (of_posterior, _) = (
            _target(part, estimator, num_nodes, num_steps, params, example)
            for part in split(problem)
        )
        sign = 1 if problem.bound.minimised == problem.bound.inference.minimised else -1
        return with_value(of_model + sign * of_posterior, of_model), mass
    model, bound, num_samples = problem.model, problem.bound, problem.num_samples
    z, weights = _nodes(model, params, example, num_nodes)
    dist_params = model.encode(params, example)
    terms = log_terms(model, params, dist_params, z, example)
    log_w = bound.log_weight(terms)
    value = expected_bound(bound, log_w, weights, num_samples, num_steps)
    value -= penalty(problem, params, dist_params, example)
    mass = weights.sum()
    if estimator is None or estimator.target is None:
        return value, mass

    densities, samples = (params, dist_params), (z, weights)
    stopped = jax.lax.stop_gradient((densities, samples))

    def expect(densities: PyTree, samples: PyTree, f: Integrand) -> Scalar:
        (params, dist_params), (nodes, chances) = densities, samples
        terms = log_terms(model, params, dist_params, nodes, example)
        if isinstance(f, Bound):
            log_w = f.log_weight(terms)
            return expected_bound(f, log_w, chances, num_samples, num_steps)
        return product_rule(f, terms, chances, num_samples)

    expectation = Expectation(
        through_densities=functools.partial(expect, densities, stopped[1]),
        through_samples=functools.partial(expect, stopped[0], samples),
    )
    target = estimator.target(problem, params, example, expectation)
    return with_value(target, value), mass


def _nodes(
    model: Model, params: Params, example: Example, num_nodes: int
) -> tuple[Event, Float[Array, " S"]]:
    """Outcomes of one sample and their probabilities under q(z|x)."""
    family = model.posterior
    dist_params = model.encode(params, example)
    if family.outcomes is not None:
        size = family.outcomes.count(family.mean(dist_params))
        _refuse_too_many(size, f"{model.name} has {size:,} outcomes")
        z = family.outcomes.support(dist_params)
        return z, jnp.exp(jax.vmap(family.log_prob, (None, 0))(dist_params, z))
    integrate = family.quadrature
    if integrate is None:
        raise IncompatibleError(
            f"{family.name} latents can be neither enumerated nor integrated: compare "
            "with a reference estimator"
        )
    # At most one coordinate is not free, as on a sphere or a simplex.
    mean = jax.eval_shape(family.mean, dist_params)
    least = sum(leaf.size for leaf in jax.tree.leaves(mean)) - 1
    _refuse_too_many(2**least, f"{model.name} takes nodes in {least} coordinates")
    # Two nodes per coordinate give 2^dim nodes in all.
    _, pair = jax.eval_shape(lambda: integrate(dist_params, 2))
    parts = 1 if family.strata is None else family.strata.split(dist_params)[0].size
    dim = round(math.log2(pair.size / parts))
    _refuse_too_many(
        parts * num_nodes**dim,
        f"{model.name} takes {num_nodes} nodes in {dim} coordinates"
        + f" of {parts} components" * (parts > 1),
    )
    return integrate(dist_params, num_nodes)


def _refuse_too_many(size: int, what: str) -> None:
    if size > MAX_NODES:
        raise IncompatibleError(
            f"{what} to sum over, and exact expectations sum at most {MAX_NODES:,}: "
            "use a smaller latent_dim, or compare with a reference estimator"
        )


def _distance(a: PyTree, b: PyTree) -> float:
    """The largest change of any entry, relative to the largest entry."""
    changes = jax.tree.map(lambda p, q: np.abs(p - q).max(initial=0), a, b)
    scale = max(1.0, *(float(np.abs(p).max(initial=0)) for p in jax.tree.leaves(a)))
    return float(max(jax.tree.leaves(changes))) / scale


def _as_float64(leaf: Array | np.ndarray) -> np.ndarray:
    """Convert to float64, except for integers, such as labels."""
    integer = jnp.issubdtype(leaf.dtype, jnp.integer)
    return np.asarray(leaf, None if integer else np.float64)
