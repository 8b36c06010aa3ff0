"""Independent Poisson counts, parameterised by their log rates.

    log p(x) = sum_i x_i l_i - exp(l_i) - log x_i! = -sum_i D(x_i, exp(l_i)) + f(x_i)

with the D of `deviance` and the f of `stirling`.
"""

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import Couplings, Family, Key, Measure, Scalar, Space
from vaejax.families.deviance import deviance, log_deviance, safe_log
from vaejax.families.heads import one_output
from vaejax.families.integrals import tensor_rule
from vaejax.families.stirling import factorial_rest


def poisson() -> Family:
    """Independent Poisson variables; the distribution's parameters are the log rates.

    No reparameterisation, and no finite support: `quadrature` sums over a window of
    counts around the rate. Events are whole floats: in float32 counts are exact, and
    log-probabilities right to 1e-3 nats within a few deviations, up to rates of 1e7.
    Larger rates are not refused, but round the counts themselves: at 1e8 and 1e9 an
    error of 2e-3 was measured. The gradient x - exp(l) is right to an ulp of the rate,
    1 at 1e7, where rates of neighbouring log rates are 19 apart. `jax.random.poisson`
    needs the default (threefry) generator.
    """
    return Family(
        name="poisson",
        sample=_sample,
        log_prob=_log_prob,
        mean=jnp.exp,
        # A pixel that is always 0 starts at a finite log rate.
        head=one_output(lambda mean: jnp.log(jnp.maximum(mean, 1e-3))),
        space=Space("counts"),
        factorised=True,
        kl=_kl,
        quadrature=_quadrature,
        couplings=Couplings(measure=_measure),
    )


def _sample(key: Key, log_rate: Float[Array, "*event"]) -> Float[Array, "*event"]:
    # The sampler loops until it accepts, which reverse mode cannot differentiate.
    rate = jnp.exp(stop_gradient(log_rate))
    return jax.random.poisson(key, rate).astype(log_rate.dtype)


def _measure(key: Key, log_rate: Float[Array, "*event"]) -> Measure:
    """A count, plus one and as it is: d/dl E f = r E[f(x + 1) - f(x)]."""
    count = _sample(key, log_rate)
    return Measure(constant=jnp.exp(log_rate), positive=count + 1, negative=count)


def _log_prob(log_rate: Float[Array, "*event"], x: Float[Array, "*event"]) -> Scalar:
    away = deviance(safe_log(x), log_rate, x, x - jnp.exp(log_rate))
    return -(away + factorial_rest(x)).reshape(-1).sum()


def _quadrature(
    log_rate: Float[Array, "*event"], num_nodes: int
) -> tuple[Float[Array, "nodes ..."], Float[Array, " nodes"]]:
    rates = stop_gradient(jnp.exp(log_rate.reshape(-1, 1)))
    first = jnp.maximum(jnp.floor(rates) - num_nodes // 2, 0)
    counts = first + jnp.arange(num_nodes, dtype=log_rate.dtype)[None]
    log_probs = jax.vmap(jax.vmap(_log_prob, (None, 0)))(log_rate.reshape(-1), counts)
    x, weights = tensor_rule(counts, jnp.exp(log_probs))
    return x.reshape(-1, *log_rate.shape), weights


def _kl(p: Float[Array, "*event"], q: Float[Array, "*event"]) -> Scalar:
    """sum_i r_i (log r_i - log s_i) - r_i + s_i, with rates r of p and s of q."""
    return log_deviance(p, q).reshape(-1).sum()
