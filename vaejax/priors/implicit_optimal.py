"""The implicit optimal prior: the aggregated posterior, by a density ratio.

    log p*(z) = log p(z) + T(z),    T(z) ~ log q(z) / p(z),    q(z) = E_x q(z | x)

The bound is highest under p* = q(z), which has no density in closed form; a
discriminator T between samples of q(z) and of p = N(0, I) estimates their log-ratio.
The KL divergence splits into a part in closed form and a part from T:

    KL(q(z|x) || p*) = KL(q(z|x) || p) - E T(z),   z ~ q(z|x)

T is trained by the regularizer `density_ratio` alone. The bound's gradient treats T as
fixed, but passes through z: the omitted term, E_q(z) [dT/dlam] at fixed z, is the
expected score of q(z) where T is optimal, which is zero.

The density is unnormalised until T is optimal: log-likelihoods need log E_p exp T(z)
subtracted, which `vaejax.evaluation.log_normalizer` estimates. T estimates the ratio
only where there are samples of either kind, and extrapolates far from both: for N(1.5,
1/4) against N(0, 1) a trained T is right within 0.2 nats from 0.5 to 2, and wrong by
more than 5 at -4 and at 6.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Encode,
    Event,
    Family,
    Key,
    Params,
    Prior,
    PyTree,
    Scalar,
)
from vaejax.nets import Network, mlp
from vaejax.priors.standard_normal import standard_normal
from vaejax.regularizers.density_ratio import density_ratio

CANDIDATES = 100  # standard normal draws, of which one is the sample


class TiltedParams(NamedTuple):
    """The parameters of the reference and of T."""

    reference: DistParams
    log_ratio: PyTree


def implicit_optimal(
    latent_dim: int = 50,
    hidden: Sequence[int] = (300, 300),
    activation: str = "tanh",
) -> Prior:
    """The standard normal tilted by a learned log-ratio, towards q(z).

    A sample is one of 100 standard normal draws, chosen in proportion to exp T.

    Args:
        latent_dim: number of latents.
        hidden: widths of T's hidden layers.
        activation: a name in `vaejax.nets.ACTIVATIONS`.

    References:
        Takahashi et al. 2019, "Variational autoencoder with implicit optimal priors",
        AAAI, arXiv:1809.05284.
    """
    reference = standard_normal(latent_dim)
    network = mlp(latent_dim, hidden, 1, activation)

    def log_ratio(params: Params, z: Event) -> Scalar:
        return network.apply(params.prior, z)[0]

    def apply(encode: Encode, params: Params, y: Array | None) -> TiltedParams:
        return TiltedParams(reference.apply(encode, params, y), params.prior)

    return Prior(
        name="implicit_optimal",
        family=_tilted(reference.family, network),
        init=network.init,
        apply=apply,
        regularizers=(density_ratio(reference, log_ratio),),
    )


def _tilted(reference: Family, network: Network) -> Family:
    """The reference's density times exp T, unnormalised; T's weights are stopped."""

    def tilt(params: TiltedParams, z: Float[Array, " Z"]) -> Scalar:
        return network.apply(stop_gradient(params.log_ratio), z)[0]

    def sample(key: Key, params: TiltedParams) -> Float[Array, " Z"]:
        keys = jax.random.split(key, CANDIDATES + 1)
        z = jax.vmap(reference.sample, (0, None))(keys[1:], params.reference)
        weights = jax.vmap(tilt, (None, 0))(params, z)
        return z[jax.random.categorical(keys[0], weights)]

    def log_prob(params: TiltedParams, z: Float[Array, " Z"]) -> Scalar:
        return reference.log_prob(params.reference, z) + tilt(params, z)

    return Family(
        name="implicit_optimal",
        sample=sample,
        log_prob=log_prob,
        mean=lambda params: reference.mean(params.reference),
        exact_mean=False,
        normalized=False,
    )
