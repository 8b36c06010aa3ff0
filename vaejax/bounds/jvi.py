"""IWAE debiased by the jackknife, of first or second order."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import Bound, LogMean, Model, Scalar, VaejaxError


def jvi(order: Literal[1, 2] = 1) -> Bound:
    """IWAE debiased by the jackknife, of first or second order.

        JVI_1 = K L_K - (K - 1) mean L_{K-1}
        JVI_2 = K^2/2 L_K - (K - 1)^2 mean L_{K-1} + (K - 2)^2/2 mean L_{K-2}

    with the means over all subsets of this size of the K samples. In float32 the terms
    of JVI_1, each K times its size, would round off; the code computes, with normalized
    weights w~,

        JVI_1 = L_K - (K - 1) (mean_k log(1 - w~_k) + log K / (K - 1))

    Relation to log p(x): its bias is O(K^-(1 + order)) instead of O(1/K); no bound, as
    it can lie on either side. Second order takes O(K^3) operations and memory.

    References:
        Nowozin 2018, "Debiasing evidence approximations" (coefficients of Sharot 1976).

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(jvi().aggregate(log_w)), 3)  # 2 log 2 - 0.549
        0.837
    """
    if order not in (1, 2):
        raise VaejaxError(f"the order of jvi is {order!r}: use 1 or 2")

    def coefficients(k: int) -> list[float]:
        if order == 1:
            return [float(k), 1.0 - k]
        return [k**2 / 2, -((k - 1.0) ** 2), (k - 2) ** 2 / 2]

    def first_order(log_w: Float[Array, " K"]) -> Scalar:
        k = log_w.shape[0]
        largest = stop_gradient(log_w.max())
        below = log_w - largest
        total = logsumexp(below)
        # log(1 - w~), which rounds off for a weight above 1/2: at most the largest one.
        first = jnp.arange(k) == jnp.argmax(log_w)
        others = logsumexp(jnp.where(first, -jnp.inf, below))
        rest = jnp.log1p(-jnp.where(first, 0.0, jnp.exp(below - total)))
        rest = jnp.where(first, others - total, rest)
        jackknife = (k - 1) * (rest.mean() + np.log(k / (k - 1)))
        return largest + (total - np.log(k) - jackknife)

    def second_order(log_w: Float[Array, " K"]) -> Scalar:
        k = log_w.shape[0]
        same = np.eye(k, dtype=bool)
        first, second = np.triu_indices(k, 1)
        left_out = [np.zeros((1, k), bool), same, same[first] | same[second]]
        total = jnp.zeros(())
        for dropped, (coefficient, out) in enumerate(
            zip(coefficients(k), left_out, strict=True)
        ):
            subsets = jnp.where(out, -jnp.inf, log_w[None])
            values = logsumexp(subsets, axis=1) - np.log(k - dropped)
            total += coefficient * values.mean()
        return total

    def needs(model: Model, num_samples: int) -> str | None:
        if num_samples > order:
            return None
        return (
            f"the jackknife of order {order} leaves {order} of the samples out, and "
            f"there are {num_samples}: use num_samples of at least {order + 1}"
        )

    return Bound(
        name="jvi" if order == 1 else "jvi2",
        aggregate=first_order if order == 1 else second_order,
        needs=needs,
        relation="debiased",
        expectation=lambda k: [
            LogMean(coefficient, k - dropped)
            for dropped, coefficient in enumerate(coefficients(k))
        ],
    )
