"""Values that are missing because of what they are: not-MIWAE.

With s the pattern of what is observed, the model is of both,

    p(x_o, s) = int p(z) p(x_o | z) E_{x_m ~ p(x_m | z)} p(s | x_o, x_m) dz

and its weights are w_k = p(x_o | z_k) p(s | x_o, x_m,k) p(z_k) / q(z_k | x_o) with one
draw x_m,k = loc(z_k) + scale(z_k) noise_k for each z_k (Ipsen, Mattei and Frellsen
2021, arXiv:2006.12871). The noise is a second latent with the law N(0, I) under prior
and posterior alike, whose density cancels: so bounds and estimators for these latents
take the model as any other, and `impute` weighs its draws.

    self_masking   logit p(x_d is missing | x) = sign_d softplus(a_d) (x_d - b_d)
    logistic       logit p(x_d is missing | x) = a_d (x_d - b_d)
    linear         logit p(x_d is missing | x) = a_d . x + b_d

Without knowledge of the signs the data may not say which tail is missing.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    Couplings,
    DistParams,
    Event,
    Example,
    Extras,
    Family,
    IncompatibleError,
    Key,
    Model,
    OwnSamples,
    Params,
    PyTree,
    Scalar,
    VaejaxError,
)
from vaejax.core.build import checked
from vaejax.core.ranges import Range
from vaejax.families.normal import NormalParams


class Latents(NamedTuple):
    """The latents of the model, and the noise of what is missing."""

    z: Event
    noise: Event  # [*event]


class WithMissingness(NamedTuple):
    """The parameters of p(x_o, s | z, noise)."""

    values: NormalParams  # of p(x | z)
    x: Float[Array, "*event"]  # the draw of x
    mechanism: PyTree  # of p(s | x)


@checked
def with_missingness(
    model: Model,
    mechanism: Literal["self_masking", "logistic", "linear"] = "self_masking",
    signs: tuple[Annotated[int, Range(-1, 1)], ...] = (1,),
) -> Model:
    """The model of x and of which coordinates of it are observed.

    `Params.decoder` holds the model's as `values`, and the mechanism's.

    Args:
        model: whose likelihood takes missing values: diagonal_normal or shared_normal
            with missing=True.
        mechanism: as above.
        signs: for self_masking, 1 where large values tend to be missing and -1 where
            small ones do: one for each coordinate, or one for all.

    Raises:
        IncompatibleError: another likelihood, or a model with regularizers.
        VaejaxError: signs other than 1 and -1, or of another number.

    References:
        Ipsen, Mattei and Frellsen 2021, arXiv:2006.12871.
    """
    likelihood, shape = model.likelihood, model.data_shape
    normal = likelihood.name in ("diagonal_normal", "shared_normal")
    if not (normal and likelihood.space.missing and shape):
        raise IncompatibleError(
            f"with_missingness draws what is missing from a normal distribution, and "
            f"{model.name} has the likelihood {likelihood.name}: use diagonal_normal "
            "or shared_normal with missing=True"
        )
    if model.extras.regularizers:
        raise IncompatibleError(
            f"with_missingness cannot keep the regularizers of {model.name}: use "
            "another prior, such as standard_normal"
        )
    size = int(np.prod(shape))
    if len(signs) not in (1, size) or 0 in signs:
        raise VaejaxError(
            f"signs are {len(signs)} numbers: give 1 or -1 for each of the {size} "
            "coordinates, or one for all"
        )
    logits = MECHANISMS[mechanism](np.asarray(signs, float))

    def init(key: Key) -> Params:
        params = model.init(key)
        weights = {
            "slope": jnp.zeros((size, size) if mechanism == "linear" else size),
            "shift": jnp.zeros(size),
        }
        decoder = {"values": params.decoder, "mechanism": weights}
        return params._replace(decoder=decoder)

    def inner(params: Params) -> Params:
        return params._replace(decoder=params.decoder["values"])

    def encode(params: Params, example: Example) -> DistParams:
        return model.encode(inner(params), example)

    def prior(params: Params, y: Array | None) -> DistParams:
        return model.prior(inner(params), y)

    def decode(params: Params, latents: Latents, y: Array | None) -> WithMissingness:
        values = model.decode(inner(params), latents.z, y)
        x = values.loc + jnp.exp(values.log_scale) * latents.noise
        return WithMissingness(values, x, params.decoder["mechanism"])

    def log_prob(params: WithMissingness, x: Float[Array, "*event"]) -> Scalar:
        seen = ~jnp.isnan(x)
        complete = jnp.where(seen, x, params.x).reshape(-1)
        of_missing = logits(params.mechanism, complete)
        of_pattern = jnp.where(seen.reshape(-1), -of_missing, of_missing)
        return (
            likelihood.log_prob(params.values, x) + jax.nn.log_sigmoid(of_pattern).sum()
        )

    noise_shape = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
    return dataclasses.replace(
        model,
        name=f"{model.name}, {mechanism}",
        init=init,
        encode=encode,
        prior=prior,
        decode=decode,
        posterior=_with_noise(model.posterior, noise_shape),
        latent_prior=_with_noise(model.latent_prior, noise_shape),
        likelihood=Family(
            name=f"{likelihood.name}, {mechanism}",
            sample=lambda key, params: params.x,  # its noise is a latent
            log_prob=log_prob,
            mean=lambda params: params.x,
            space=likelihood.space,
        ),
        latent_shape=Latents(model.latent_shape, noise_shape),
        extras=Extras(averages=model.extras.averages),
    )


def _self_masking(signs: Float[np.ndarray, " D"]) -> Callable[..., Array]:
    def logits(weights: dict[str, Any], x: Float[Array, " D"]) -> Float[Array, " D"]:
        slope = signs * jax.nn.softplus(weights["slope"])
        return slope * (x - weights["shift"])

    return logits


def _logistic(signs: Float[np.ndarray, " D"]) -> Callable[..., Array]:
    def logits(weights: dict[str, Any], x: Float[Array, " D"]) -> Float[Array, " D"]:
        return weights["slope"] * (x - weights["shift"])

    return logits


def _linear(signs: Float[np.ndarray, " D"]) -> Callable[..., Array]:
    def logits(weights: dict[str, Any], x: Float[Array, " D"]) -> Float[Array, " D"]:
        return weights["slope"] @ x + weights["shift"]

    return logits


MECHANISMS = {"self_masking": _self_masking, "logistic": _logistic, "linear": _linear}


def _with_noise(family: Family, shape: jax.ShapeDtypeStruct) -> Family:
    """The family of z beside N(0, I) noise, whose density is left out everywhere."""
    retrace = family.couplings.retrace

    def sample(key: Key, dist_params: DistParams) -> Latents:
        z_key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, shape.shape, shape.dtype)
        return Latents(family.sample(z_key, dist_params), noise)

    def retraced(dist_params: DistParams, latents: Latents) -> Latents:
        assert retrace is not None
        return latents._replace(z=retrace(dist_params, latents.z))

    return Family(
        name=family.name,
        sample=sample,
        log_prob=lambda dist_params, latents: family.log_prob(dist_params, latents.z),
        mean=lambda dist_params: Latents(
            family.mean(dist_params), jnp.zeros(shape.shape, shape.dtype)
        ),
        space=family.space,
        reparam=family.reparam,
        kl=family.kl,  # the noise adds none
        exact_mean=family.exact_mean,
        normalized=family.normalized,
        has_density=family.has_density,
        own_samples=OwnSamples(costly_log_prob=family.own_samples.costly_log_prob),
        couplings=Couplings(retrace=retraced if retrace else None),
        restriction=family.restriction,
    )
