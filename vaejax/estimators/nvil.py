"""Neural variational inference and learning: the baseline is a network on x.

    grad F(log_w(params; stop_gradient(z), lam))
        + sum_k (F(log_w) - c - b(x)) grad log q(z_k; lam)

The network b is trained beside the model to predict the learning signal, and c is the
running mean of the signal less b(x).
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array

from vaejax.core import (
    DistParams,
    Estimator,
    EstState,
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
from vaejax.estimators.moving_average import (
    RunningAverage,
    advance,
    check_decay,
    running_average,
)
from vaejax.estimators.score_function import (
    UNBIASED,
    learning_signal,
    score_weights,
    with_score,
)
from vaejax.nets import Network, activation_named, mlp
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    minimize_beside,
    require,
    stopped_samples,
)


@named_by_settings
def nvil(
    hidden: Sequence[int] = (100,),
    activation: str = "tanh",
    decay: float = 0.8,
    normalize: bool = False,
) -> Estimator:
    """The score function with a learned baseline that depends on the observation.

        minimise mean_k (signal_k - c - b(x))^2 over the weights of b

    where the signal is F, or f_k if the bound is separable. With `normalize` the
    gradient in the posterior's parameters is divided by `max(1, sd)`, with sd^2 the
    running mean of `(signal - c - b(x))^2`: steps keep their size while the signal
    shrinks from hundreds of nats to a few. The encoder's gradient is then an unbiased
    estimate of the bound's in direction, but not in length.

    Valid for: every posterior and every bound, models that give their `data_shape`;
    unbiased without `normalize`. The baseline does not see the y of a conditional
    model, which costs variance alone.

    Args:
        hidden: widths of the baseline's hidden layers.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        decay: of the running mean and variance.
        normalize: divide the encoder's gradient by the signal's running deviation.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the score-function estimate, divided for the encoder if asked for.

    References:
        Mnih and Gregor 2014, arXiv:1402.0030.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> nvil(hidden=(50, 50)).check(problem).status
        'unbiased'
    """
    check_decay(decay)
    activation_named(activation)

    def check(problem: Problem) -> Verdict:
        refusal = require(
            problem.model.data_shape is not None,
            "nvil's baseline is a network on x, and the model does not give the "
            "shape of x",
            "use a Model with data_shape, or moving_average",
        )
        return refusal or (
            Verdict(
                "biased",
                "normalize rescales the encoder's gradient, which keeps the direction "
                "of the bound's but not its length: use normalize=False",
            )
            if normalize
            else UNBIASED
        )

    def baseline(problem: Problem) -> Network:
        shape = problem.model.data_shape
        assert shape is not None  # `check` refused it
        return mlp(math.prod(shape), hidden, 1, activation)

    def init(problem: Problem, key: Key) -> tuple[PyTree, RunningAverage]:
        zeros = {"mean": jnp.zeros(()), "variance": jnp.zeros(())}
        return baseline(problem).init(key), running_average(zeros)

    def surrogate(
        problem: Problem, params: Params, state: EstState, key: Key, example: Example
    ) -> tuple[Scalar, Stats]:
        lam, z = stopped_samples(problem, params, key, example)
        if normalize:
            deviation = jnp.sqrt(state.mean["variance"])
            lam = _divide_gradient(lam, jnp.maximum(1.0, deviation))
        terms = log_terms(problem.model, params, lam, z, example)
        value = bound_value(problem, params, lam, example, terms)
        signal = learning_signal(problem.bound, problem.bound.log_weight(terms))
        (predicted,) = baseline(problem).apply(params.auxiliary, example.x)
        residual = stop_gradient(signal) - state.mean["mean"] - predicted

        weights = score_weights(problem.bound, residual)
        estimate = with_score(value, weights, terms)
        stats = make_stats(value, terms) | {
            "signal_residual": stop_gradient(residual.mean()),
            "signal_residual_square": stop_gradient((residual**2).mean()),
        }
        return minimize_beside(problem, estimate, (residual**2).mean()), stats

    def update(problem: Problem, state: RunningAverage, stats: Stats) -> RunningAverage:
        new = {
            "mean": state.mean["mean"] + stats["signal_residual"],
            "variance": stats["signal_residual_square"],  # about c, not the batch mean
        }
        return advance(state, new, decay)

    return Estimator(
        name="nvil", surrogate=surrogate, check=check, init=init, update=update
    )


def _divide_gradient(dist_params: DistParams, divisor: Scalar) -> DistParams:
    def divide(leaf: Array) -> Array:
        scaled = leaf / divisor
        return stop_gradient(leaf) + (scaled - stop_gradient(scaled))

    return jax.tree.map(divide, dist_params)
