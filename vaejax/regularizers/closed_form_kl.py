"""The batch's KL divergence to the prior, in closed form, latent by latent."""

import jax
from jaxtyping import Array, Float

from vaejax.core import Batch, Example, Model, Params


def kl_by_latent(model: Model, params: Params, batch: Batch) -> Float[Array, " Z"]:
    """KL(q(z_j|x) || p(z_j)) of every latent, mean over the batch, in nats."""
    kl = model.posterior.kl
    assert kl is not None  # `needs` refused the others

    def one(example: Example) -> Float[Array, " Z"]:
        posterior = model.encode(params, example)
        return jax.vmap(kl)(posterior, model.prior(params, example.y))

    return jax.vmap(one)(batch.example).mean(0)


def needs(model: Model) -> str | None:
    """The reason why a model has no closed-form KL by latent, or None."""
    posterior, prior = model.posterior, model.latent_prior
    if posterior.kl and posterior.factorised and posterior.law == prior.law:
        return None
    return (
        "it needs the KL divergence of every latent in closed form, between "
        f"independent latents of one family, and the posterior is {posterior.name} "
        f"and the prior {prior.name}: use diagonal_normal and standard_normal, or a "
        "kl_weight, which takes any"
    )
