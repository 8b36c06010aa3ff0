"""The thermodynamic variational objective: a Riemann sum along the geometric path."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import Bound, LogMean, Scalar, VaejaxError
from vaejax.core.naming import named_by_settings
from vaejax.core.ranges import Depth


@named_by_settings
def tvo(
    num_partitions: Depth = 5,
    first_beta: float = 0.05,
    side: Literal["left", "right"] = "left",
) -> Bound:
    """The thermodynamic variational objective: a Riemann sum along the geometric path.

        sum_s (beta_s - beta_{s-1}) sum_k softmax(beta log_w)_k log_w_k

    with beta = beta_{s-1} ("left") or beta_s ("right") between beta_0 = 0 and
    beta_S = 1, in logarithmic steps from `first_beta`. Each term is the derivative of
    the convex `log mean_k w_k^beta`, so that

    Relation to log p(x): left <= IWAE_K <= right at any K, hence left is a lower bound;
    one left partition is the ELBO, as is K = 1. Right bounds log p(x) from above as
    K -> inf only.

    References:
        Masrani, Le and Wood 2019, arXiv:1907.00031.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(tvo(num_partitions=1).aggregate(log_w)), 3)  # the ELBO
        0.549
    """
    if num_partitions < 1:
        raise VaejaxError(f"num_partitions is {num_partitions}: use at least 1")
    if not 0 < first_beta < 1:
        raise VaejaxError(f"first_beta is {first_beta}: use a number between 0 and 1")
    if side not in ("left", "right"):
        raise VaejaxError(f"unknown side {side!r}: use 'left' or 'right'")
    inner = np.geomspace(first_beta, 1.0, num_partitions) if num_partitions > 1 else [1]
    knots = np.concatenate([[0.0], inner])
    steps = np.diff(knots)
    betas = knots[:-1] if side == "left" else knots[1:]

    def riemann_sum(log_w: Float[Array, " K"]) -> Scalar:
        # The gradient is shift-invariant: subtracting the largest reduces cancellation.
        largest = stop_gradient(log_w.max())
        below = log_w - largest

        def expected(beta: Scalar) -> Scalar:
            normalized = jax.nn.softmax(beta * below)
            # An impossible sample has weight 0, unless beta is 0.
            return jnp.dot(normalized, jnp.where(normalized > 0, below, 0.0))

        return largest + jnp.dot(
            jnp.asarray(steps, log_w.dtype),
            jax.vmap(expected)(jnp.asarray(betas, log_w.dtype)),
        )

    is_elbo = side == "left" and num_partitions == 1

    def expectation(num_samples: int) -> list[LogMean] | None:
        return [LogMean(1.0, 1)] if is_elbo or num_samples == 1 else None

    return Bound(
        name="tvo",
        aggregate=riemann_sum,
        separable=is_elbo,
        expectation=expectation,
        relation="lower" if side == "left" else "upper",
        minimised=side == "right",
        path=tuple(zip(steps.tolist(), betas.tolist(), strict=True)),
    )
