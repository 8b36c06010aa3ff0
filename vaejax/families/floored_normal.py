"""Normal distributions with a minimum KL divergence from N(0, I): the delta-VAE's."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Family, Restriction, VaejaxError, head_of
from vaejax.families.normal import NormalParams, diagonal_normal


def floored_normal(min_kl: float = 0.1) -> Family:
    """`diagonal_normal` with a KL divergence from N(0, 1) of at least `min_kl`.

        scale = s sigmoid(output),    (s^2 - 1) / 2 - log s = min_kl,  s < 1

    Every latent carries at least `min_kl` nats, whatever the decoder does. The KL
    divergence from other distributions than N(0, 1) has no such floor, so
    `standard_normal` is the only prior accepted.

    Args:
        min_kl: delta, in nats per latent, at most 10: s is then 3e-5, and float32 tells
            few numbers apart around a location.

    Raises:
        VaejaxError: a `min_kl` out of that range.

    References:
        Razavi et al. 2019, arXiv:1901.03416, whose prior is an autoregressive one.
    """
    from scipy.optimize import brentq

    if not 0 < min_kl <= 10:
        raise VaejaxError(f"min_kl is {min_kl}: use a number above 0, and at most 10")
    log_widest = brentq(
        lambda t: (math.exp(2 * t) - 1) / 2 - t - min_kl, -min_kl - 1, -1e-12
    )

    def from_outputs(outputs: Float[Array, "2 ..."]) -> NormalParams:
        return NormalParams(outputs[0], log_widest + jax.nn.log_sigmoid(outputs[1]))

    def project(params: NormalParams) -> NormalParams:
        return params._replace(log_scale=jnp.minimum(params.log_scale, log_widest))

    def needs(prior: str) -> str | None:
        if prior == "standard_normal":
            return None
        return (
            "its KL divergence has a floor against N(0, 1), and has none against "
            f"{prior}: use the prior standard_normal, or the posterior "
            "diagonal_normal"
        )

    normal = diagonal_normal()
    return dataclasses.replace(
        normal,
        name="floored_normal",
        head=dataclasses.replace(head_of(normal), from_outputs=from_outputs),
        restriction=Restriction(law=normal.name, project=project, needs=needs),
    )
