"""Perplexity: the number of equally likely choices for each word in a topic model.

    exp(-1/N sum_d log p(w_d) / n_d)

over N documents d of n_d words w_d in their order, as in Miao, Yu and Blunsom 2016
(arXiv:1511.06038). The multinomial probability of the counts x_d is over all orders,
p(x_d) = n_d! / prod_i x_di! p(w_d), and that factor is divided out.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import VaejaxError, check_finite
from vaejax.families.multinomial import log_orders


def perplexity(
    log_px: Float[np.ndarray, " N"], counts: Float[Array, "N V"] | np.ndarray
) -> float:
    """The perplexity per word, of log-likelihoods under a `multinomial` likelihood.

    The result is an upper bound where `log_px` is a lower bound.

    Args:
        log_px: log p(x_d) in nats, of every document.
        counts: x_d, how often each of V words comes up in it.

    Raises:
        VaejaxError: a document without words; another number of documents than of
            log-likelihoods.
    """
    counts = np.asarray(counts, float)
    if np.shape(log_px) != counts.shape[:1]:
        raise VaejaxError(
            f"log_px is of shape {np.shape(log_px)} and counts of {counts.shape}: give "
            "both of the same documents, [N] and [N, V]"
        )
    check_finite(log_px=log_px, counts=counts)
    lengths = counts.sum(1)
    if not lengths.all():
        raise VaejaxError(
            f"document {int(np.argmin(lengths))} has no words, and so no perplexity: "
            "leave such documents out"
        )
    log_pw = np.asarray(log_px) - np.asarray(jax.vmap(log_orders)(jnp.asarray(counts)))
    return float(np.exp(-np.mean(log_pw / lengths)))
