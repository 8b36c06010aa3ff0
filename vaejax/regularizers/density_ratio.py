"""A discriminator of the aggregated posterior and a reference, trained beside a model.

    min_T  E_q(z) softplus(-T(z)) + E_p(u) softplus(T(u))

is the logistic loss of separating z from u; its minimum is T = log q(z) / p(z), where
q(z) = E_x q(z|x) (Sugiyama, Suzuki and Kanamori 2012, "Density ratio estimation").
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import (
    Batch,
    Event,
    Example,
    Key,
    Model,
    Params,
    Prior,
    Regularizer,
    Scalar,
    Stats,
    fold_examples,
)


def density_ratio(
    reference: Prior, log_ratio: Callable[[Params, Event], Scalar]
) -> Regularizer:
    """The logistic loss of T, with one z ~ q(z|x) and one u ~ p for every example.

    Both samples are stopped: the loss trains only the parameters that `log_ratio` uses.
    The report has the two parts of KL(q(z|x) || q(z)) = KL(q(z|x) || p) - E T(z):
    "kl_to_reference", in closed form where it is known, and "log_ratio", E T(z); and
    "log_normaliser", log mean exp T(u), which is about 0 where T is right. Of a batch
    in parts (micro-batches) the last is the mean over the parts, and a little lower.

    Args:
        reference: p, which T compares q(z) with.
        log_ratio: T, of the parameters and an event.
    """
    family = reference.family

    def ratios(
        model: Model, params: Params, key: Key, batch: Batch
    ) -> tuple[Float[Array, " B"], Float[Array, " B"], Float[Array, " B"]]:
        """The T(z), T(u) and KL to the reference of every example."""

        def one(key: Key, example: Example) -> tuple[Scalar, Scalar, Scalar]:
            z_key, u_key = jax.random.split(key)
            q = model.encode(params, example)
            p = reference.apply(model.encode, params, example.y)
            z, u = model.posterior.sample(z_key, q), family.sample(u_key, p)
            if family.kl is not None and family.law == model.posterior.law:
                kl = family.kl(q, p)
            else:
                kl = model.posterior.log_prob(q, z) - family.log_prob(p, z)
            z, u = jax.tree.map(stop_gradient, (z, u))
            return log_ratio(params, z), log_ratio(params, u), kl

        return jax.vmap(one)(fold_examples(key, batch.global_index), batch.example)

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        of_z, of_u, _ = ratios(model, params, key, batch)
        return logistic_loss(of_z, of_u)

    def report(model: Model, params: Params, key: Key, batch: Batch) -> Stats:
        of_z, of_u, kl = ratios(model, params, key, batch)
        return {
            "kl_to_reference": kl.mean(),
            "log_ratio": of_z.mean(),
            "log_normaliser": logsumexp(of_u) - jnp.log(of_u.size),
        }

    return Regularizer(
        name="density_ratio", penalty=penalty, report=report, compares=False
    )


def logistic_loss(of_z: Float[Array, " B"], of_u: Float[Array, " B"]) -> Scalar:
    """E softplus(-T(z)) + E softplus(T(u)), from the values of T at both samples."""
    return (jax.nn.softplus(-of_z) + jax.nn.softplus(of_u)).mean()
