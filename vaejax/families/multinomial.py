"""Multinomial counts: the number of occurrences of each of V words among n.

    log p(x | n) = log n! - sum_i log x_i! + sum_i x_i log p_i
                 = f(n) - sum_i D(x_i, n p_i) + f(x_i),    n = sum_i x_i

with p = softmax(l), the D of `deviance` and the f of `stirling`.

The bag-of-words likelihood of topic models (NVDM: Miao, Yu and Blunsom 2016,
arXiv:1511.06038). It is a distribution given the length n of the document, which is
read off x. The value is right to 1e-3 nats and four units in its last place, for n up
to 1e7 and 20,000 words. The first two terms count the orders of the words:
`vaejax.evaluation.perplexity` leaves them out.
"""

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import Family, Key, Scalar, Space, VaejaxError
from vaejax.families.deviance import deviance, safe_log
from vaejax.families.heads import one_output
from vaejax.families.stirling import factorial_rest


def multinomial(total_count: int = 100) -> Family:
    """Counts of words given their sum; the parameters are the words' logits.

    No reparameterisation. An event is one array of whole floats, of any shape: all its
    entries are counts among the same n.

    Args:
        total_count: n of samples and of the mean; `log_prob` takes that of its x.
    """
    if total_count < 1:
        raise VaejaxError(f"total_count is {total_count}: use at least 1")

    def sample(key: Key, logits: Float[Array, "*event"]) -> Float[Array, "*event"]:
        # The sampler loops until it accepts, which reverse mode cannot differentiate.
        p = jax.nn.softmax(stop_gradient(logits).reshape(-1))
        x = jax.random.multinomial(key, total_count, p, dtype=logits.dtype)
        return x.reshape(logits.shape)

    return Family(
        name="multinomial",
        sample=sample,
        log_prob=_log_prob,
        mean=lambda logits: total_count * jax.nn.softmax(logits, axis=None),
        # A word that never occurs starts at a finite logit.
        head=one_output(lambda mean: jnp.log(jnp.maximum(mean / mean.sum(), 1e-6))),
        space=Space("counts"),
    )


def _log_prob(logits: Float[Array, "*event"], x: Float[Array, "*event"]) -> Scalar:
    log_p, x = jax.nn.log_softmax(logits.reshape(-1)), x.reshape(-1)
    n = x.sum()
    expected = n * jnp.exp(log_p)
    away = deviance(safe_log(x), safe_log(n) + log_p, x, x - expected)
    return factorial_rest(n) - (away + factorial_rest(x)).sum()


def log_orders(x: Float[Array, " V"]) -> Scalar:
    """The logarithm of the number of orders of the words: n! / prod_i x_i!."""
    n = x.sum()
    shares = x * (safe_log(x) - safe_log(n)) + factorial_rest(x)
    return factorial_rest(n) - shares.sum()
