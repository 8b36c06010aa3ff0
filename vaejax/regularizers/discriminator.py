"""A network T(z) that separates two samples, trained beside the model.

Two players descend one loss. The model's term stops the gradient to the network, and
the network's term, the logistic loss of `density_ratio`, stops the gradient to the
samples: each term trains only its player.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from vaejax.core import Batch, Key, Model, Params, Regularizer, Scalar, Stats
from vaejax.nets import Network, activation_named, mlp
from vaejax.regularizers.density_ratio import logistic_loss
from vaejax.regularizers.draws import check_batch, needs_path, posterior_draws
from vaejax.terms import with_value

Draws = Float[Array, "B D"]


def adversary(
    name: str,
    reference: Callable[[Model, Params, Key, Batch, Draws], Draws],
    of_model: Callable[[Float[Array, " B"]], Scalar],
    hidden: Sequence[int],
    activation: str,
) -> Regularizer:
    """The regularizer `of_model(T(z))`, z ~ q(z|x), with T ~ log q(z) / r(z).

    Its value is the model's term. The report has "NAME_log_ratio", E_q T(z), which
    estimates KL(q || r), and "NAME_discriminator", the logistic loss of T, which is
    2 log 2 = 1.386 where T cannot separate the two samples.

    Args:
        name: the regularizer's.
        reference: as many draws of r, given those of q(z); both are stopped.
        of_model: what the model descends, of T at its draws.
        hidden: widths of T's hidden layers.
        activation: of these.
    """
    activation_named(activation)

    def network(model: Model) -> Network:
        size = math.prod(getattr(model.latent_shape, "shape", ()))
        return mlp(size, hidden, 1, activation)

    def parts(
        model: Model, params: Params, key: Key, batch: Batch
    ) -> tuple[Float[Array, " B"], Scalar]:
        """T at every draw, with a gradient to the model alone, and the loss of T."""
        check_batch(name, batch)
        draw_key, reference_key = jax.random.split(key)
        z = posterior_draws(model, params, draw_key, batch)
        u = reference(model, params, reference_key, batch, z)
        apply = partial(jax.vmap(network(model).apply, (None, 0)))
        of_z, of_u = (
            apply(params.auxiliary, stop_gradient(sample))[:, 0] for sample in (z, u)
        )
        given = apply(stop_gradient(params.auxiliary), z)[:, 0]
        return given, logistic_loss(of_z, of_u)

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        given, own = parts(model, params, key, batch)
        return with_value(of_model(given) + own, of_model(given))

    def report(model: Model, params: Params, key: Key, batch: Batch) -> Stats:
        given, own = parts(model, params, key, batch)
        return {f"{name}_log_ratio": given.mean(), f"{name}_discriminator": own}

    def needs(model: Model) -> str | None:
        if hasattr(model.latent_shape, "shape"):
            return needs_path(model)
        return (
            "its discriminator takes one array of latents, of a known shape: use a "
            "model of one layer"
        )

    return Regularizer(
        name=name,
        penalty=penalty,
        needs=needs,
        init=lambda model, key: network(model).init(key),
        report=report,
    )
