"""Wake-sleep: the encoder fits latents of the model, and does not climb the bound.

The model climbs the bound. The encoder raises log q at latents from another
distribution, which needs no reparameterisation and no score-function gradient:

    wake   latents of the data, z ~ p(z|x) by self-normalised importance sampling:
           the update descends KL(p(z|x) || q(z|x))
    sleep  latents of dreams, z and x ~ p(x, z): the update descends the mean KL over
           p(x)

With normalised weights F'_k = w_k / sum_j w_j the wake gradient has the bias O(1/K) of
self-normalised sampling. The sleep gradient is unbiased, but uses the model's data.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    Estimator,
    EstState,
    Example,
    Expectation,
    Key,
    LogTerms,
    Params,
    Problem,
    Scalar,
    Stats,
    VaejaxError,
    Verdict,
    plain,
)
from vaejax.core.naming import named_by_settings
from vaejax.estimators.dreg import path_weights
from vaejax.terms import (
    log_terms,
    make_stats,
    require,
    require_reparam,
    sample_posterior,
    scale_gradient,
    stopped_samples,
    with_value,
)


@named_by_settings
def rws(wake_fraction: float = 1.0) -> Estimator:
    """Reweighted wake-sleep: the encoder's target mixes the wake and the sleep update.

        model:    sum_k F'_k grad log p(x, z_k)
        encoder:  a sum_k F'_k grad log q(z_k; lam) + (1 - a) grad log q(z'; lam(x'))

    with z stopped, `a = wake_fraction`, and one dream z' ~ p(z), x' ~ p(x|z') for every
    example. The model's half is the bound's gradient, unbiased; the encoder's is not
    the bound's: every pair is called biased.

    Valid for: every posterior. With a wake part, bounds made of log-means of at least
    two plain weights, of which F'_k sums to 1 over each (IWAE, MIWAE, JVI): K >= 2.
    With a = 0 (`wake_sleep`), every bound without a closed-form penalty, any K.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the bound's in the model's parameters and the mixture's in the
        encoder's. Its `target` is known for a = 1: of dreams there is no expectation
        over q.

    References:
        Bornschein and Bengio 2015, arXiv:1406.2751; the mixture: Le et al. 2019,
        arXiv:1805.10469; sleep alone: Hinton, Dayan, Frey and Neal 1995, "The
        wake-sleep algorithm for unsupervised neural networks".

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=iwae(), num_samples=8)
        >>> rws(wake_fraction=0.5).check(problem).status
        'biased'
    """
    if not 0 <= wake_fraction <= 1:
        raise VaejaxError(f"wake_fraction is {wake_fraction}: use a share from 0 to 1")
    name = "rws" if wake_fraction > 0 else "wake_sleep"

    def check(problem: Problem) -> Verdict:
        refusal = _refuse_penalty(problem, name)
        if wake_fraction > 0:
            refusal = refusal or _refuse_wake(problem, name)
        return refusal or _own_target(problem)

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        total = jnp.zeros(())
        if wake_fraction < 1:
            key, dream_key = jax.random.split(key)
            dream = _sleep(problem, params, dream_key, example)
            total += (1 - wake_fraction) * (
                -dream if problem.bound.minimised else dream
            )
        dist_params, z = stopped_samples(problem, params, key, example)
        terms = log_terms(problem.model, params, dist_params, z, example)
        value, slope = _value_and_slope(problem, terms)
        total += jnp.dot(slope, _model_part(problem, terms))
        if wake_fraction > 0:
            total += wake_fraction * jnp.dot(slope, terms.log_qz)
        return with_value(total, value), make_stats(value, terms)

    return Estimator(
        name=name,
        surrogate=surrogate,
        check=check,
        target=_wake_target if wake_fraction == 1 else None,
    )


def wake_sleep() -> Estimator:
    """`rws` with the sleep update alone.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> wake_sleep().check(problem).status
        'biased'
    """
    return dataclasses.replace(rws(wake_fraction=0.0), name="wake_sleep")


def rws_dreg() -> Estimator:
    """The wake update of `rws`, with the score doubly reparameterised.

        model:    sum_k F'_k grad log p(x, z_k)
        encoder:  sum_k F''_kk (d log_w_k / dz_k) dz_k/dlam

    For IWAE `F''_kk = w~_k - w~_k^2` with w~ the normalised weights. The expectation is
    that of `rws` at every K, the variance 0 at the exact posterior.

    Valid for: reparameterisable posteriors; the bounds of `rws`, K >= 2; biased as an
    estimate of the bound's gradient, in the encoder.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the bound's in the model's parameters and the wake update's in the
        encoder's.

    References:
        Tucker, Lawson, Gu and Maddison 2019, arXiv:1810.04152, section 6.

    Examples:
        >>> problem = Problem(model=gaussian_toy(), bound=iwae(), num_samples=8)
        >>> rws_dreg().check(problem).status
        'biased'
    """

    def check(problem: Problem) -> Verdict:
        return (
            require_reparam(problem, "rws_dreg")
            or _refuse_penalty(problem, "rws_dreg")
            or _refuse_wake(problem, "rws_dreg")
            or _own_target(problem)
        )

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        dist_params, z = sample_posterior(problem, params, key, example)
        stopped = jax.tree.map(stop_gradient, dist_params)
        closed = jax.tree.map(stop_gradient, (params, z))
        terms = log_terms(problem.model, closed[0], stopped, closed[1], example)
        slope, path_scale = path_weights(problem.bound, terms)
        value, _ = _value_and_slope(problem, terms)
        # 1 - path_scale is F''_kk / F'_k, as the weights are plain.
        z = scale_gradient(z, 1 - path_scale)
        open_terms = log_terms(problem.model, params, stopped, z, example)
        total = jnp.dot(slope, problem.bound.log_weight(open_terms))
        return with_value(total, value), make_stats(value, terms)

    return Estimator(
        name="rws_dreg", surrogate=surrogate, check=check, target=_wake_target
    )


def _value_and_slope(
    problem: Problem, terms: LogTerms
) -> tuple[Scalar, Float[Array, " K"]]:
    """F and F'_k, stopped."""
    log_w = stop_gradient(problem.bound.log_weight(terms))
    return jax.value_and_grad(problem.bound.aggregate)(log_w)


def _model_part(problem: Problem, terms: LogTerms) -> Float[Array, " K"]:
    """The log-weights with a gradient in the model's parameters alone."""
    return problem.bound.log_weight(terms._replace(log_qz=stop_gradient(terms.log_qz)))


def _sleep(problem: Problem, params: Params, key: Key, example: Example) -> Scalar:
    """Log q of a dream's latents given its data, both drawn from the stopped model."""
    model = problem.model
    model_params = jax.tree.map(stop_gradient, params)
    z_key, x_key = jax.random.split(key)
    prior_params = model.prior(model_params, example.y)
    z = model.latent_prior.sample(z_key, prior_params)
    x = model.likelihood.sample(x_key, model.decode(model_params, z, example.y))
    z, x = jax.tree.map(stop_gradient, (z, x))
    return model.posterior.log_prob(model.encode(params, Example(x, example.y)), z)


def _wake_target(
    problem: Problem, params: Params, example: Example, expectation: Expectation
) -> Scalar:
    """The bound of log-weights with the gradient of log p(x, z) + log q(z|x).

    F'_k is the weight of both gradients: `grad F = sum_k F'_k grad log_w_k`.
    """

    def followed(terms: LogTerms) -> Float[Array, " K"]:
        moves = terms.log_px_z + terms.log_pz + terms.log_qz
        return stop_gradient(plain(terms) - moves) + moves

    return expectation.through_densities(
        dataclasses.replace(problem.bound, log_weight=followed)
    )


def _refuse_penalty(problem: Problem, name: str) -> Verdict | None:
    return require(
        problem.bound.penalty is None,
        f"{name} weighs samples by their densities, and {problem.bound.name} has a "
        "closed-form part without samples",
        "use the bound 'iwae'",
    )


def _refuse_wake(problem: Problem, name: str) -> Verdict | None:
    bound = problem.bound
    parts = bound.expectation(problem.num_samples)
    normalizes = parts is not None and all(
        part.size >= 2 and part.power == 1 for part in parts
    )
    weighed = require(
        not normalizes or bound.minimised or bound.log_weight is plain,
        f"the wake update of {name} samples p(z|x) by the weights p(x, z) / q(z|x), "
        f"which {bound.name} under a KL weight does not have",
        "leave the KL weight out",
    )
    return weighed or require(
        normalizes and not bound.minimised,
        f"the wake update of {name} samples p(z|x) by normalised weights of at least "
        f"two samples, and {bound.name} with K = {problem.num_samples} has no such "
        "weights",
        "use the bound 'iwae' and num_samples >= 2",
    )


def _own_target(problem: Problem) -> Verdict:
    return Verdict(
        "biased",
        f"its encoder does not maximise {problem.bound.name} but fits q to latents of "
        "the model: use dreg or vimco for the bound's gradient",
    )
