"""What a trained model computes of one example: `over_rows` maps these functions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import Event, Example, Key, Model, Params, PyTree


def encode(
    static: tuple[Model, str], params: Params, row: tuple[Key, Example]
) -> PyTree:
    """The mean, a sample or the parameters of q(z | x), as the word asks."""
    (model, what), (key, example) = static, row
    q = model.encode(params, example)
    if what == "params":
        return q
    return (
        model.posterior.sample(key, q) if what == "sample" else model.posterior.mean(q)
    )


def decode(model: Model, params: Params, row: tuple[Event, Array | None]) -> Array:
    """The mean of p(x | z)."""
    return model.likelihood.mean(model.decode(params, *row))


def sample(
    static: tuple[Model, str], params: Params, row: tuple[Key, Array | None]
) -> Array:
    """The mean of p(x | z), or a draw from it, at a draw of z from the prior."""
    (model, what), (key, y) = static, row
    z_key, x_key = jax.random.split(key)
    z = model.latent_prior.sample(z_key, model.prior(params, y))
    decoded = model.decode(params, z, y)
    if what == "sample":
        return model.likelihood.sample(x_key, decoded)
    return model.likelihood.mean(decoded)


def reconstruct(model: Model, params: Params, example: Example) -> Array:
    """The mean of p(x | z) at the mean of q(z | x)."""
    z = model.posterior.mean(model.encode(params, example))
    return model.likelihood.mean(model.decode(params, z, example.y))


def interpolate(
    static: tuple[Model, int], params: Params, row: tuple[Example, Example]
) -> Float[Array, "steps ..."]:
    """The means of p(x | z) on a line between the codes of two examples."""
    (model, steps), (start, _) = static, row
    codes = [model.posterior.mean(model.encode(params, one)) for one in row]

    def between(share: Array) -> Array:
        z = jax.tree.map(lambda a, b: (1 - share) * a + share * b, *codes)
        if model.posterior.space.kind == "sphere":
            z = jax.tree.map(lambda leaf: leaf / jnp.linalg.norm(leaf), z)
        return model.likelihood.mean(model.decode(params, z, start.y))

    return jax.vmap(between)(jnp.linspace(0, 1, steps))


def classify(model: Model, params: Params, x: Array) -> Float[Array, " C"]:
    """The probabilities of the classes of x."""
    assert model.extras.class_log_probs is not None
    return jnp.exp(model.extras.class_log_probs(params, x))
