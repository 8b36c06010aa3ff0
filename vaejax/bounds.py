"""Lower bounds on log p(x): scalar functions F of K importance log-weights.

With `log_w_k = log p(x, z_k) - log q(z_k | x)` and `z_k ~ q(z | x)` independent,

    ELBO       mean_k log_w_k                    <= log p(x)
    IWAE_K     log mean_k w_k                    ELBO <= IWAE_K <= IWAE_2K <= log p(x)

both in expectation. All values are in nats.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import (
    Bound,
    DistParams,
    Example,
    LogTerms,
    Model,
    Params,
    Scalar,
    VaejaxError,
)


def elbo() -> Bound:
    """The evidence lower bound, KL by Monte Carlo: `mean_k log_w_k`.

    Relation to log p(x): `E[elbo] = log p(x) - KL(q(z|x) || p(z|x))`.

    References:
        Kingma and Welling 2014, arXiv:1312.6114.
    """
    return Bound(
        name="elbo",
        aggregate=jnp.mean,
        separable=True,
        linear=True,
        curvature=jnp.zeros_like,
    )


def elbo_analytic_kl() -> Bound:
    """The evidence lower bound, KL in closed form: `mean_k log p(x|z_k) - KL(q || p)`.

    The same expectation as `elbo`. Valid for: a posterior and a prior of one family
    whose KL divergence is known.

    References:
        Kingma and Welling 2014, arXiv:1312.6114, appendix B.
    """

    def closed_form_kl(
        model: Model, params: Params, dist_params: DistParams, example: Example
    ) -> Scalar:
        assert model.posterior.kl is not None  # `needs` refused the others
        return model.posterior.kl(dist_params, model.prior(params, example.y))

    def needs(model: Model) -> str | None:
        if model.posterior.kl and model.posterior.name == model.latent_prior.name:
            return None
        return (
            f"no closed-form KL is known between a {model.posterior.name} posterior "
            f"and a {model.latent_prior.name} prior: use the bound 'elbo'"
        )

    return Bound(
        name="elbo_analytic_kl",
        aggregate=jnp.mean,
        log_weight=lambda terms: terms.log_px_z,
        penalty=closed_form_kl,
        separable=True,
        linear=True,
        curvature=jnp.zeros_like,
        needs=needs,
    )


def beta_elbo(beta: float = 4.0) -> Bound:
    """The beta-VAE's bound: `mean_k log p(x|z_k) + beta (log p(z_k) - log q(z_k|x))`.

    Relation to log p(x): a lower bound for beta >= 1, below the ELBO by
    `(beta - 1) KL(q(z|x) || p(z))`; below 1 it bounds nothing.

    References:
        Higgins et al. 2017, "beta-VAE".
    """
    if not 0 <= beta < math.inf:
        raise VaejaxError(f"beta is {beta}: use a finite KL weight of at least 0")

    def tempered(terms: LogTerms) -> Float[Array, " K"]:
        return terms.log_px_z + beta * (terms.log_pz - terms.log_qz)

    return Bound(
        name="beta_elbo",
        aggregate=jnp.mean,
        log_weight=tempered,
        separable=True,
        linear=True,
        curvature=jnp.zeros_like,
    )


def iwae() -> Bound:
    """The importance-weighted bound: `log mean_k w_k`.

    Relation to log p(x): tighter with every K, and `-> log p(x)` as K grows.

    References:
        Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519.
    """

    def log_mean_weight(log_w: Float[Array, " K"]) -> Scalar:
        return logsumexp(log_w) - jnp.log(log_w.shape[0])

    def curvature(log_w: Float[Array, " K"]) -> Float[Array, " K"]:
        normalized = jax.nn.softmax(log_w)
        return normalized * (1 - normalized)

    return Bound(
        name="iwae", aggregate=log_mean_weight, curvature=curvature, log_mean=True
    )


BOUNDS: dict[str, Callable[..., Bound]] = {
    "elbo": elbo,
    "elbo_analytic_kl": elbo_analytic_kl,
    "beta_elbo": beta_elbo,
    "iwae": iwae,
}
