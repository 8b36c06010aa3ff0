"""A discriminator of the aggregated posterior and a reference, trained beside a model.

    min_T  E_q(z) softplus(-T(z)) + E_p(u) softplus(T(u))

is the logistic loss of telling z from u; its minimum is T = log q(z) / p(z), where
q(z) = E_x q(z|x) (Sugiyama, Suzuki and Kanamori 2012, "Density ratio estimation").
"""

from collections.abc import Callable

import jax
from jax.lax import stop_gradient

from vaejax.core import (
    Batch,
    DistParams,
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

    Both are stopped: nothing but what `log_ratio` reads of the parameters is trained.
    Beside it stand the two parts of KL(q(z|x) || q(z)) = KL(q(z|x) || p) - E T(z):
    "kl_to_reference", in closed form where it is known, and "log_ratio", E T(z).

    Args:
        reference: p, which T compares q(z) with.
        log_ratio: T, of the parameters and an event.
    """
    family = reference.family

    def posteriors(
        model: Model, params: Params, key: Key, batch: Batch
    ) -> tuple[DistParams, Event]:
        keys = fold_examples(key, batch.global_index)
        dist_params = jax.vmap(model.encode, (None, 0))(params, batch.example)
        return dist_params, jax.vmap(model.posterior.sample)(keys, dist_params)

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        z_key, u_key = jax.random.split(key)

        def draw(key: Key, example: Example) -> Event:
            return family.sample(key, reference.apply(model.encode, params, example.y))

        _, z = posteriors(model, params, z_key, batch)
        u = jax.vmap(draw)(fold_examples(u_key, batch.global_index), batch.example)
        of_z, of_u = (
            jax.vmap(log_ratio, (None, 0))(params, stop_gradient(one)) for one in (z, u)
        )
        return (jax.nn.softplus(-of_z) + jax.nn.softplus(of_u)).mean()

    def report(model: Model, params: Params, key: Key, batch: Batch) -> Stats:
        z_key, _ = jax.random.split(key)
        dist_params, z = posteriors(model, params, z_key, batch)

        def kl(q: DistParams, z: Event, example: Example) -> Scalar:
            p = reference.apply(model.encode, params, example.y)
            if family.kl is not None and family.name == model.posterior.name:
                return family.kl(q, p)
            return model.posterior.log_prob(q, z) - family.log_prob(p, z)

        return {
            "kl_to_reference": jax.vmap(kl)(dist_params, z, batch.example).mean(),
            "log_ratio": jax.vmap(log_ratio, (None, 0))(params, z).mean(),
        }

    return Regularizer(name="density_ratio", penalty=penalty, report=report)
