"""MuProp: a baseline linear in the sample, whose expectation is differentiated exactly.

The signal is expanded around the posterior's mean m(lam), an event between events for
discrete latents, to first order in all K samples at once (the delta method):

    b(z) = F(m) + sum_k dF/dz_k(m) (z_k - m),    E b(z) = F(m) + F'(m) (E z - m).

`sum_k dF/dz_k(m) grad m(lam)` restores the expectation of `b(z) grad log q`.
"""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Estimator,
    EstState,
    Event,
    Example,
    Key,
    Params,
    Problem,
    PyTree,
    Scalar,
    Stats,
    Verdict,
)
from vaejax.core.naming import named_by_settings
from vaejax.estimators.score_function import learning_signal, score_weights, with_score
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    minimize_beside,
    require,
    stopped_samples,
)


@named_by_settings
def muprop(fitted: bool = False) -> Estimator:
    """The score function with the first-order Taylor expansion at the mean as baseline.

        grad F(log_w(params; stop_gradient(z), lam))
            + sum_k (F(log_w) - eta b(z)) grad log q(z_k; lam) + eta F'(m) grad m(lam)

    For a separable bound sample k is weighed by `(f_k - eta b(z_k)) / K`. The baseline
    takes one more evaluation of the model, at the mean, and its backward pass.

    Valid for: posteriors whose `mean` is the expectation of the event, differentiable
    in their parameters; every bound; unbiased.

    Args:
        fitted: learn eta, which is 1 otherwise, by descending the variance of the
            estimate: the control variate by the delta method with its coefficient.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the MuProp estimate.

    References:
        Gu, Levine, Sutskever and Mnih 2016, arXiv:1511.05176; with a coefficient,
        Paisley, Blei and Jordan 2012, arXiv:1206.6430.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> muprop(fitted=True).check(problem).status
        'unbiased'
    """

    def init(problem: Problem, key: Key) -> tuple[PyTree, EstState]:
        return ({"eta": jnp.ones(())} if fitted else ()), ()

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        bound = problem.bound
        lam, z = stopped_samples(problem, params, key, example)
        terms = log_terms(problem.model, params, lam, z, example)
        value = bound_value(problem, params, lam, example, terms)
        signal = score_weights(bound, learning_signal(bound, bound.log_weight(terms)))
        baseline, slope = _expansion(problem, params, lam, z, example)

        def restored(lam: DistParams) -> Scalar:
            return _dot(slope, problem.model.posterior.mean(lam))

        def parts(lam: DistParams) -> tuple[Scalar, Scalar]:
            """Scalars with the gradients of the score term and the control variate."""
            log_qz = jax.vmap(problem.model.posterior.log_prob, (None, 0))(lam, z)
            log_w = bound.log_weight(stop_gradient(terms)._replace(log_qz=log_qz))
            score = bound.aggregate(log_w) + jnp.dot(stop_gradient(signal), log_qz)
            return score, jnp.dot(baseline, log_qz) - restored(lam)

        eta = params.auxiliary["eta"] if fitted else jnp.ones(())
        closed_eta = stop_gradient(eta)
        term = closed_eta * restored(lam)
        estimate = with_score(value, signal - closed_eta * baseline, terms)
        estimate += term - stop_gradient(term)
        if fitted:
            score, control = (
                ravel_pytree(gradient)[0]
                for gradient in jax.jacrev(parts)(stop_gradient(lam))
            )
            squared = jnp.square(score - eta * control).sum()
            estimate = minimize_beside(problem, estimate, squared)
        return estimate, make_stats(value, terms)

    return Estimator(name="muprop", surrogate=surrogate, check=_check, init=init)


def _check(problem: Problem) -> Verdict:
    family = problem.model.posterior
    refusal = require(
        family.exact_mean,
        "muprop differentiates the expectation of z, and the mean of these "
        f"{family.name} latents is not that expectation",
        "use vimco or ovis_mc",
    )
    return refusal or Verdict(
        "unbiased", "the linear baseline's expectation is put back"
    )


def _expansion(
    problem: Problem, params: Params, lam: DistParams, z: Event, example: Example
) -> tuple[Float[Array, " K"], Event]:
    """The baselines b(z), as weights of the scores, and F'(m), summed over samples."""
    model, bound = problem.model, problem.bound
    params, lam = stop_gradient((params, lam))
    mean = model.posterior.mean(lam)

    def log_weight(event: Event) -> Scalar:
        one = jax.tree.map(lambda leaf: leaf[None], event)
        return bound.log_weight(log_terms(model, params, lam, one, example))[0]

    # The expansion of all K samples is at one point: one evaluation suffices.
    log_w, slope = jax.value_and_grad(log_weight)(mean)
    at_mean, bound_slope = jax.value_and_grad(bound.aggregate)(
        jnp.full(problem.num_samples, log_w)
    )
    offsets = jax.tree.map(lambda z, m: z - m[None], z, mean)
    linear = bound_slope * jax.vmap(lambda offset: _dot(slope, offset))(offsets)
    # A separable F is the mean of one part per sample.
    linear = linear * linear.size if bound.separable else linear.sum()
    baseline = jnp.broadcast_to(at_mean + linear, bound_slope.shape)
    total = jax.tree.map(lambda leaf: bound_slope.sum() * leaf, slope)
    return score_weights(bound, baseline), total


def _dot(slope: Event, event: Event) -> Scalar:
    parts = jax.tree.map(jnp.vdot, slope, event)
    return sum(jax.tree.leaves(parts), jnp.zeros(()))
