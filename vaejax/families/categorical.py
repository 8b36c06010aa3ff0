"""Independent categorical variables as one-hot vectors, from their logits.

    log p(x) = sum_i x_i log softmax(l)_i        x in {0, 1}^C with one 1

The last axis of an event holds the C categories; any axes before it are independent
variables. The relaxation (Maddison et al. 2017, arXiv:1611.00712; Jang et al. 2017,
arXiv:1611.01144) perturbs the log-probabilities by Gumbel noise:

    score = log p - log(-log u),   hard = one_hot(argmax score),
    soft = softmax(score / temperature)

Given that category k won, the largest score is a standard Gumbel variable whatever p
is, and the others are Gumbel variables cut off there (Tucker et al. 2017,
arXiv:1703.07370, appendix C):

    score_k = -log(-log v_k),   score_i = -log(-log(v_i) / p_i - log v_k)
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    Couplings,
    Family,
    Head,
    Key,
    Outcomes,
    Relaxation,
    Scalar,
    Space,
    VaejaxError,
)
from vaejax.families.deviance import log_deviance
from vaejax.families.uniform import open_uniform
from vaejax.ops.random import one_pass


def categorical(num_categories: int = 10) -> Family:
    """One-hot categorical variables; the distribution's parameters are the logits.

    No reparameterisation. For networks a coordinate is one variable, described by
    `num_categories` outputs: outputs [num_categories, *variables] parameterise an event
    [*variables, num_categories]. The data of a categorical likelihood are one-hot in a
    last axis that a decoder's `data_shape` leaves out.
    """
    if num_categories < 2:
        raise VaejaxError(f"{num_categories} categories: use 2 or more")
    return Family(
        name="categorical",
        sample=_sample,
        log_prob=_log_prob,
        mean=lambda logits: jax.nn.softmax(logits),
        head=Head(
            outputs_per_coordinate=num_categories,
            from_outputs=lambda outputs: jnp.moveaxis(outputs, 0, -1),
            to_outputs=_to_outputs,
        ),
        space=Space("one_hot"),
        factorised=True,
        kl=_kl,
        outcomes=Outcomes(
            support=_support,
            count=lambda x: num_categories ** (x.size // num_categories),
        ),
        couplings=Couplings(
            relax=Relaxation(
                noise=open_uniform,
                soft=_soft,
                hard=_hard,
                conditional=_conditional,
                as_mean=_as_mean,
            )
        ),
    )


def _to_outputs(mean: Float[Array, "*event"]) -> Float[Array, "categories ..."]:
    # A category that never occurs starts at a finite logit, as in `bernoulli`.
    return jnp.moveaxis(jnp.log(jnp.maximum(mean, 1e-3)), -1, 0)


def _sample(key: Key, logits: Float[Array, "*event"]) -> Float[Array, "*event"]:
    winner = jax.random.categorical(one_pass(key), logits)
    return jax.nn.one_hot(winner, logits.shape[-1], dtype=logits.dtype)


def _log_prob(logits: Float[Array, "*event"], x: Float[Array, "*event"]) -> Scalar:
    return (x * jax.nn.log_softmax(logits)).sum()


def _kl(p: Float[Array, "*event"], q: Float[Array, "*event"]) -> Scalar:
    """sum_i p_i (log p_i - log q_i)."""
    log_p, log_q = jax.nn.log_softmax(p), jax.nn.log_softmax(q)
    return log_deviance(log_p, log_q).sum()


def _support(logits: Float[Array, "*event"]) -> Float[Array, "nodes ..."]:
    *variables, num_categories = logits.shape
    rows = np.eye(num_categories)
    chosen = itertools.product(range(num_categories), repeat=int(np.prod(variables)))
    outcomes = rows[np.array(list(chosen), int)]
    return jnp.asarray(outcomes.reshape(-1, *logits.shape), logits.dtype)


def _scores(
    logits: Float[Array, "*event"], u: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    return jax.nn.log_softmax(logits) - jnp.log(-jnp.log(u))


def _soft(
    logits: Float[Array, "*event"],
    u: Float[Array, "*event"],
    temperature: Scalar | float,
) -> Float[Array, "*event"]:
    return jax.nn.softmax(_scores(logits, u) / temperature)


def _hard(
    logits: Float[Array, "*event"], u: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    winner = jnp.argmax(_scores(logits, u), -1)
    return jax.nn.one_hot(winner, logits.shape[-1], dtype=logits.dtype)


def _conditional(
    logits: Float[Array, "*event"],
    v: Float[Array, "*event"],
    x: Float[Array, "*event"],
    temperature: Scalar | float,
) -> Float[Array, "*event"]:
    log_wait = jnp.log(-jnp.log(v))  # minus a Gumbel variable
    first = jnp.where(x > 0.5, log_wait, 0).sum(-1, keepdims=True)
    others = jnp.logaddexp(log_wait - jax.nn.log_softmax(logits), first)
    scores = -jnp.where(x > 0.5, log_wait, others)
    return jax.nn.softmax(scores / temperature)


def _as_mean(
    logits: Float[Array, "*event"], z: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    z, moved = stop_gradient(z), logits - stop_gradient(logits)
    return z + z * (moved - (z * moved).sum(-1, keepdims=True))
