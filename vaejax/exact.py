"""Exact values and gradients of expected bounds, for models small enough to integrate.

An expectation over q(z|x) becomes a weighted sum over nodes: every outcome of a
discrete posterior, or a quadrature rule of a continuous one whose nodes are doubled
until value and gradient converge. All K samples of a bound are then integrated by

    log-mean bounds    E log sum_k w_k = int exp(-e^u) - (E exp(-w e^u))^K du,   any K
    separable bounds   E F = E f(log_w)                         (one sample is enough)
    any other bound    the product rule over K copies of the nodes

A closed-form ELBO of a model (`Extras.exact_elbo`) is differentiated directly.

The first line is Frullani's integral log s = int (e^-t - e^-ts) dt/t with t = e^u, in
which independent samples factorise: exact IWAE gradients at K = 1000 cost no more than
at K = 2. Everything runs in float64.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

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
from vaejax.problems import split
from vaejax.terms import log_terms, penalty, with_value

MAX_NODES = 2**16  # the most outcomes of one sample in a sum
MAX_PRODUCT = 2**24  # the most outcomes of K samples in a sum
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
        examples = check_data(problem.model, examples)
        params, examples = jax.tree.map(_as_float64, (params, examples))
        exact_elbo = problem.model.extras.exact_elbo
        if _is_plain_elbo(problem) and exact_elbo and not own_target:
            value, gradient = jax.device_get(_closed_form(exact_elbo, params, examples))
            return Exact(float(value), gradient)

        def integrate(num_nodes: int) -> tuple[PyTree, np.ndarray]:
            integral = _integral(problem, estimator, num_nodes)
            (value, mass), gradient = jax.device_get(integral(params, examples))
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
) -> Callable[[Params, Example], tuple[tuple[Scalar, Array], Params]]:
    """Compile the mean target, its gradient, and each example's total node weight."""

    def mean_target(params: Params, examples: Example) -> tuple[Scalar, Array]:
        def one(example: Example) -> tuple[Scalar, Scalar]:
            _, weights = _nodes(problem.model, params, example, num_nodes)
            target = _target(problem, estimator, num_nodes, params, example)
            return target, weights.sum()

        targets, masses = jax.lax.map(one, examples)
        return targets.mean(), masses

    return jax.jit(jax.value_and_grad(mean_target, has_aux=True))


def _target(
    problem: Problem,
    estimator: Estimator | None,
    num_nodes: int,
    params: Params,
    example: Example,
) -> Scalar:
    """A scalar with the expected bound as value and the target's gradient."""
    if problem.bound.inference is not None:
        of_model, of_posterior = (
            _target(part, estimator, num_nodes, params, example)
            for part in split(problem)
        )
        sign = 1 if problem.bound.minimised == problem.bound.inference.minimised else -1
        return with_value(of_model + sign * of_posterior, of_model)
    model, bound, num_samples = problem.model, problem.bound, problem.num_samples
    z, weights = _nodes(model, params, example, num_nodes)
    dist_params = model.encode(params, example)
    terms = log_terms(model, params, dist_params, z, example)
    value = _expected_bound(
        bound, bound.log_weight(terms), weights, num_samples, num_steps=4 * num_nodes
    )
    value -= penalty(problem, params, dist_params, example)
    if estimator is None or estimator.target is None:
        return value

    densities, samples = (params, dist_params), (z, weights)
    stopped = jax.lax.stop_gradient((densities, samples))

    def expect(densities: PyTree, samples: PyTree, f: Integrand) -> Scalar:
        (params, dist_params), (nodes, chances) = densities, samples
        terms = log_terms(model, params, dist_params, nodes, example)
        if isinstance(f, Bound):
            log_w = f.log_weight(terms)
            return _expected_bound(f, log_w, chances, num_samples, 4 * num_nodes)
        return _product_rule(f, terms, chances, num_samples)

    expectation = Expectation(
        through_densities=functools.partial(expect, densities, stopped[1]),
        through_samples=functools.partial(expect, stopped[0], samples),
    )
    return with_value(estimator.target(problem, params, example, expectation), value)


def _expected_bound(
    bound: Bound,
    log_w: Float[Array, " S"],
    weights: Float[Array, " S"],
    num_samples: int,
    num_steps: int,
) -> Scalar:
    parts = bound.expectation(num_samples)
    if parts is not None:
        total = jnp.zeros(())
        for coefficient, size, power in parts:
            if size == 1:
                mean = jnp.dot(weights, power * log_w)
            else:
                mean = _expected_log_mean(power * log_w, weights, size, num_steps)
            total += coefficient / power * mean
        return total
    if bound.separable:
        per_node = jax.vmap(lambda one: bound.aggregate(one[None]))(log_w)
        return jnp.dot(weights, per_node)
    return _product_rule(bound.aggregate, log_w, weights, num_samples)


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


def _product_rule(
    f: Callable[[Any], Scalar],
    leaves: PyTree,
    weights: Float[Array, " S"],
    num_samples: int,
) -> Scalar:
    """E f over K independent samples, each at one of the S nodes of `leaves`."""
    size = weights.shape[0]
    if size**num_samples > MAX_PRODUCT:
        raise IncompatibleError(
            f"the product rule over K = {num_samples} samples of {size} outcomes each "
            f"sums more than {MAX_PRODUCT:,} terms: use a smaller K"
        )

    @jax.checkpoint  # otherwise the backward pass stores every intermediate value
    def term(number: Array) -> Scalar:
        chosen = jnp.stack(jnp.unravel_index(number, (size,) * num_samples))
        value = f(jax.tree.map(lambda leaf: leaf[chosen], leaves))
        return weights[chosen].prod() * value

    return jax.lax.map(term, jnp.arange(size**num_samples), batch_size=2**14).sum()


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _expected_log_mean(
    log_w: Float[Array, " S"],
    weights: Float[Array, " S"],
    num_samples: int,
    num_steps: int,
) -> Scalar:
    """E log mean_k w_k over K independent samples, by the one-dimensional integral."""
    return _log_mean_and_slopes(log_w, weights, num_samples, num_steps)[0]


def _log_mean_and_slopes(
    log_w: Float[Array, " S"],
    weights: Float[Array, " S"],
    num_samples: int,
    num_steps: int,
) -> tuple[Scalar, tuple[Float[Array, " S"], Float[Array, " S"]]]:
    """The integral, and its derivatives in the log-weights and their probabilities.

    One pass computes all: autodiff of the loop would store every step.
    """
    shift = logsumexp(log_w, b=weights)
    centred = log_w - shift
    # u = 3 sinh(t) covers weights as small as e^-30000 with steps of 0.05 around 1.
    reach = np.arcsinh(1e4)
    width = 2 * reach / (num_steps - 1)

    def step(i: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        total, by_log_w, by_weights = sums
        t = -reach + i * width
        u, du = 3 * jnp.sinh(t), 3 * jnp.cosh(t) * width
        exponent = jnp.exp(jnp.minimum(u + centred, 700.0))
        decay = jnp.exp(-exponent)
        laplace = jnp.dot(weights, decay)
        slope = du * num_samples * laplace ** (num_samples - 1)
        return (
            total
            + du * (jnp.exp(-jnp.exp(jnp.minimum(u, 700.0))) - laplace**num_samples),
            by_log_w + slope * weights * exponent * decay,
            by_weights - slope * decay,
        )

    zeros = jnp.zeros((), log_w.dtype), jnp.zeros_like(log_w), jnp.zeros_like(weights)
    total, *slopes = jax.lax.fori_loop(0, num_steps, step, zeros)
    return shift + total - np.log(num_samples), tuple(slopes)


def _log_mean_backward(
    num_samples: int, num_steps: int, slopes: tuple[Array, Array], cotangent: Scalar
) -> tuple[Array, Array]:
    return cotangent * slopes[0], cotangent * slopes[1]


_expected_log_mean.defvjp(_log_mean_and_slopes, _log_mean_backward)


def _distance(a: PyTree, b: PyTree) -> float:
    """The largest change of any entry, relative to the largest entry."""
    changes = jax.tree.map(lambda p, q: np.abs(p - q).max(initial=0), a, b)
    scale = max(1.0, *(float(np.abs(p).max(initial=0)) for p in jax.tree.leaves(a)))
    return float(max(jax.tree.leaves(changes))) / scale


def _as_float64(leaf: Array | np.ndarray) -> np.ndarray:
    """Convert to float64, except for integers, such as labels."""
    integer = jnp.issubdtype(leaf.dtype, jnp.integer)
    return np.asarray(leaf, None if integer else np.float64)
