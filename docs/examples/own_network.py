"""Networks of your own in a model: pure functions, or any flax NNX module.

    python docs/examples/own_network.py

An encoder of patches of 2x2 pixels in plain JAX, and a decoder that is a flax module:
`from_networks` takes any pair `(init, apply)` of one example, and flax's modules.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import vaejax
from vaejax import from_networks
from vaejax.bounds import elbo
from vaejax.data import PROTOCOLS, load
from vaejax.estimators import stl
from vaejax.families import bernoulli
from vaejax.nets import Network
from vaejax.priors import standard_normal

LATENTS = 8


def patches(width: int = 16) -> Network:
    """Plain JAX: the same linear map of each of the sixteen patches, then a linear."""

    def init(key):
        first, second = jax.random.split(key)
        return {
            "patch": jax.random.normal(first, (4, width)) / 2,
            "out": jax.random.normal(second, (16 * width, 2 * LATENTS)) / 16,
        }

    def apply(params, x):  # x is one image, [8, 8, 1]: there is no batch axis
        cut = x.reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(16, 4)
        return jnp.tanh(cut @ params["patch"]).reshape(-1) @ params["out"]

    return Network(init=init, apply=apply)


def decoder(rngs: nnx.Rngs) -> nnx.Module:
    """A flax module: from one latent vector to a logit for every pixel."""
    hidden, out = nnx.Linear(LATENTS, 128, rngs=rngs), nnx.Linear(128, 64, rngs=rngs)
    return nnx.Sequential(hidden, nnx.gelu, out)


def main(epochs: int = 50) -> float:
    """Train, and print the ELBO of the last epoch."""
    model = from_networks(
        "patches",
        encoder=patches(),
        decoder=decoder,
        prior=standard_normal(LATENTS),
        likelihood=bernoulli(),
        data_shape=(8, 8, 1),
    )
    reports = []
    vaejax.fit(
        vaejax.make_objective(model, elbo(), stl(), num_samples=1),
        optax.adam(1e-3),
        vaejax.Example(load("digits", "train").images),
        epochs=epochs,
        batch_size=50,
        key=jax.random.key(0),
        observe=PROTOCOLS["dynamic"].sample,
        on_epoch=reports.append,
    )
    print("training ELBO, nats:", bound := reports[-1].metrics["bound"])
    return bound


if __name__ == "__main__":
    main()
