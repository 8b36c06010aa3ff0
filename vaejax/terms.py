"""The parts of estimators: samples, log-weights, and control of gradient paths.

An estimator draws K latents, weighs them, and selects gradient paths: `stop_gradient`
on the posterior parameters closes the direct path through log q, `scale_gradient`
weighs the path through each sample.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    Bound,
    DistParams,
    Event,
    Example,
    Expectation,
    Key,
    Keys,
    LogTerms,
    Model,
    Params,
    Problem,
    Scalar,
    Stats,
    VaejaxError,
    Verdict,
)
from vaejax.sharding import divide_samples


def sample_posterior(
    problem: Problem, params: Params, key: Key, example: Example
) -> tuple[DistParams, Event]:
    """Encode the example and draw K latents: q's parameters and z, [K, *event]."""
    model = problem.model
    dist_params = model.encode(params, example)
    keys = jax.random.split(key, problem.num_samples)
    z = jax.vmap(model.posterior.sample, in_axes=(0, None))(keys, dist_params)
    return dist_params, z


def stopped_samples(
    problem: Problem, params: Params, key: Key, example: Example
) -> tuple[DistParams, Event]:
    """The posterior's parameters, open to gradients, and K stopped samples."""
    lam, z = sample_posterior(problem, params, key, example)
    return lam, jax.tree.map(stop_gradient, z)


def weigh_own_samples(
    model: Model, params: Params, dist_params: DistParams, keys: Keys, example: Example
) -> LogTerms:
    """Draw a sample for each key, with its log-terms, by the cheapest method.

    Use this only where nothing in log q is stopped: the total derivative of log q is
    correct, its partial derivatives are not.
    """
    family = model.posterior
    sample_and_log_prob = family.own_samples.sample_and_log_prob
    if sample_and_log_prob is None:
        z = jax.vmap(family.sample, (0, None))(keys, dist_params)
        return log_terms(model, params, dist_params, z, example)
    z, log_qz = jax.vmap(sample_and_log_prob, (0, None))(keys, dist_params)
    return log_terms(model, params, dist_params, z, example, log_qz)


def log_terms(
    model: Model,
    params: Params,
    dist_params: DistParams,
    z: Event,
    example: Example,
    log_qz: Float[Array, " K"] | None = None,
) -> LogTerms:
    """Log p(x|z), log p(z) and log q(z|x) of every sample; `dist_params` are q's.

    Log q(z|x) is computed unless `log_qz` is given.

    Where the mesh in force has an axis for samples whose size divides their number,
    each device computes its share of the samples (see `vaejax.sharding`).
    """
    z = divide_samples(z)
    prior_params = model.prior(params, example.y)

    def one(z_k: Event, log_qz_k: Scalar | None) -> LogTerms:
        likelihood_params = model.decode(params, z_k, example.y)
        if log_qz_k is None:
            log_qz_k = model.posterior.log_prob(dist_params, z_k)
        return LogTerms(
            log_px_z=log_px_given(model, likelihood_params, example.x),
            log_pz=model.latent_prior.log_prob(prior_params, z_k),
            log_qz=log_qz_k,
        )

    return jax.vmap(one)(z, log_qz)


def log_px_given(model: Model, likelihood_params: DistParams, x: Array) -> Scalar:
    """Log p(x | z), from the likelihood's parameters at z.

    Raises:
        VaejaxError: x of another shape than these describe: the two would broadcast.
    """
    shape = model.data_shape
    if shape is None:
        shape = jax.eval_shape(model.likelihood.mean, likelihood_params).shape
    if x.shape != shape:
        raise VaejaxError(
            f"x is of shape {x.shape}, and {model.name} decodes to {shape}: reshape x, "
            "or build the model with another data_shape"
        )
    return model.likelihood.log_prob(likelihood_params, x)


def bound_value(
    problem: Problem,
    params: Params,
    dist_params: DistParams,
    example: Example,
    terms: LogTerms,
) -> Scalar:
    """F(log_w), less the bound's closed-form penalty, if any."""
    bound = problem.bound
    return bound.aggregate(bound.log_weight(terms)) - penalty(
        problem, params, dist_params, example
    )


def penalty(
    problem: Problem, params: Params, dist_params: DistParams, example: Example
) -> Scalar:
    """The bound's closed-form penalty, or 0 if the bound has none."""
    if problem.bound.penalty is None:
        return jnp.zeros(())
    return problem.bound.penalty(problem.model, params, dist_params, example)


def with_value(surrogate: Scalar, value: Scalar) -> Scalar:
    """A scalar whose value is exactly `value` and whose gradient is `surrogate`'s.

    The order of the operations keeps a large surrogate from rounding the value off.
    """
    return stop_gradient(value) + (surrogate - stop_gradient(surrogate))


def exchange(
    bound: Bound,
    log_w: Float[Array, " K"],
    first: Float[Array, " K"],
    second: Float[Array, " K"],
) -> Float[Array, " K"]:
    """F with log_w_k = first_k less F with log_w_k = second_k, for every k.

    The other samples keep their weights. Where F is a mean over samples these weights
    cancel, and the result is (f(first_k) - f(second_k)) / K.
    """
    num_samples = log_w.shape[0]
    if bound.separable:
        f = jax.vmap(lambda one: bound.aggregate(one[None]))
        return (f(first) - f(second)) / num_samples

    def difference(k: Array, a: Scalar, b: Scalar) -> Scalar:
        return bound.aggregate(log_w.at[k].set(a)) - bound.aggregate(log_w.at[k].set(b))

    return jax.vmap(difference)(jnp.arange(num_samples), first, second)


def enter(gradient: DistParams, dist_params: DistParams) -> Scalar:
    """A scalar whose gradient in the posterior's parameters lam is `gradient`.

    The scalar is the sum of stop_gradient(gradient) * lam: an estimate for lam reaches
    the weights of any network through lam.
    """
    products = jax.tree.map(jnp.vdot, stop_gradient(gradient), dist_params)
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def minimize_beside(problem: Problem, surrogate: Scalar, auxiliary: Scalar) -> Scalar:
    """Add a loss for an estimator's parameters to the surrogate; its value stays.

    The optimizer of all parameters descends `auxiliary` in `Params.auxiliary`, whether
    the bound is maximised or minimised. `auxiliary` must depend on `Params.auxiliary`
    alone, or it disturbs the estimate.
    """
    sign = 1 if problem.bound.minimised else -1
    return surrogate + sign * (auxiliary - stop_gradient(auxiliary))


COMMON_STATS = ("bound", "log_px_z", "log_pz", "log_qz", "kl")


def make_stats(value: Scalar, terms: LogTerms) -> Stats:
    """The statistics that every estimator reports for an example, in nats."""
    # Without the barrier XLA sums over samples and pixels in a second pass, for which
    # every pixel's term stays in memory.
    terms = jax.lax.optimization_barrier(terms)
    stats = {
        "bound": value,
        "log_px_z": terms.log_px_z.mean(),
        "log_pz": terms.log_pz.mean(),
        "log_qz": terms.log_qz.mean(),
        "kl": (terms.log_qz - terms.log_pz).mean(),
    }
    return jax.tree.map(stop_gradient, stats)


def expected_terms(terms: LogTerms, weights: Float[Array, " K"]) -> LogTerms:
    """The terms' weighted sums, in the form of a single sample for `make_stats`."""
    return LogTerms(*(jnp.dot(weights, leaf)[None] for leaf in terms))


@jax.custom_vjp
def scale_gradient(z: Event, scale: Float[Array, " K"]) -> Event:
    """Return `z`; on the way back, multiply the gradient of sample k by `scale[k]`.

    The forward value is `z` itself, not an arithmetic copy, so that XLA merges a
    forward pass from `scale_gradient(z, s)` with one from `z`.
    """
    return z


def _scale_forward(
    z: Event, scale: Float[Array, " K"]
) -> tuple[Event, Float[Array, " K"]]:
    return z, scale


def _scale_backward(scale: Float[Array, " K"], cotangent: Event) -> tuple[Event, None]:
    def weigh(leaf: Array) -> Array:
        weighed = leaf * scale.reshape(scale.shape + (1,) * (leaf.ndim - 1))
        return weighed.astype(leaf.dtype)  # `scale` may have the wider dtype

    return jax.tree.map(weigh, cotangent), None


scale_gradient.defvjp(_scale_forward, _scale_backward)


def target_with_share(
    problem: Problem,
    params: Params,
    example: Example,
    expectation: Expectation,
    share: float,
) -> Scalar:
    """E F, with the gradient through log q in the log-weights multiplied by `share`.

    The samples and the model's densities keep their full gradient: a share of 1 gives
    the gradient of E F. Estimators that drop a part of this score use it as `target`.
    """

    def log_weight(terms: LogTerms) -> Float[Array, " K"]:
        stopped = stop_gradient(terms.log_qz)
        log_qz = stopped + share * (terms.log_qz - stopped)
        return problem.bound.log_weight(terms._replace(log_qz=log_qz))

    partly_open = dataclasses.replace(problem.bound, log_weight=log_weight)
    dist_params = problem.model.encode(params, example)
    return (
        expectation.through_samples(problem.bound)
        + expectation.through_densities(partly_open)
        - penalty(problem, params, dist_params, example)
    )


def require(condition: bool, lacks: str, remedy: str) -> Verdict | None:
    """Return None if the condition holds, or a refusal with the lack and the remedy."""
    return None if condition else Verdict("refused", f"{lacks}: {remedy}")


def require_outcomes(problem: Problem, name: str, max_outcomes: int) -> Verdict | None:
    """Refuse a problem if the estimator cannot list every outcome of the posterior."""
    model, family = problem.model, problem.model.posterior
    if family.outcomes is None:
        lacks = f"{family.name} latents cannot be listed"
        remedy = "use pathwise" if family.reparam else "use score_function or rloo"
    elif model.latent_shape is None:
        lacks = "the model does not give their shape"
        remedy = "use a Model with latent_shape, or score_function"
    else:
        lacks = f"{model.name} has more than max_outcomes = {max_outcomes:,}"
        remedy = "use a smaller latent_dim, a larger max_outcomes, or score_function"
        if family.outcomes.count(model.latent_shape) <= max_outcomes:
            return None
    return Verdict("refused", f"{name} lists all outcomes of z, and {lacks}: {remedy}")


def require_reparam(problem: Problem, name: str) -> Verdict | None:
    """Refuse a problem if its samples cannot be differentiated."""
    family = problem.model.posterior
    return require(
        family.reparam is not None,
        f"{name} differentiates through z, but {family.name} latents have no "
        "reparameterisation",
        "use score_function or rloo" + ", or stratified" * bool(family.strata),
    )
