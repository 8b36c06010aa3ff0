"""The benchmark's work as JAX tutorials write it: a Python loop over one jitted step.

A batch is binarized by numpy and fed to every step, as in flax's VAE example; the loss
is read once at the end. Evaluation is one jitted call an image, all samples at once.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from protocol import (
    LEARNING_RATE,
    Images,
    Weights,
    arguments,
    initial_weights,
    load_images,
    serve,
)

Params = tuple[Weights, Weights]
optimizer = optax.adam(LEARNING_RATE)


def mlp(layers: Weights, x: jax.Array) -> jax.Array:
    """Linear layers with tanh between them."""
    *hidden, (kernel, bias) = layers
    for hidden_kernel, hidden_bias in hidden:
        x = jnp.tanh(x @ hidden_kernel + hidden_bias)
    return x @ kernel + bias


def log_weights(
    params: Params, key: jax.Array, x: jax.Array, num_samples: int
) -> jax.Array:
    """Compute log p(x, z_k) - log q(z_k | x), [K, B], for binary x [B, 784]."""
    encoder, decoder = params
    loc, log_scale = jnp.split(mlp(encoder, x), 2, axis=-1)
    noise = jax.random.normal(key, (num_samples, *loc.shape))
    z = loc + jnp.exp(log_scale) * noise
    logits = mlp(decoder, z)
    log_px_z = -optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)
    # log p(z) - log q(z|x); the constants of the two normals cancel.
    return log_px_z + (0.5 * (noise**2 - z**2) + log_scale).sum(-1)


def bound(params: Params, key: jax.Array, x: jax.Array, num_samples: int) -> jax.Array:
    """The importance-weighted bound, mean over the batch."""
    log_w = log_weights(params, key, x, num_samples)
    return (jax.nn.logsumexp(log_w, 0) - jnp.log(num_samples)).mean()


@partial(jax.jit, static_argnames="num_samples")
def train_step(
    params: Params, opt_state: tuple, key: jax.Array, x: jax.Array, num_samples: int
) -> tuple:
    """One update."""
    loss, gradients = jax.value_and_grad(lambda p: -bound(p, key, x, num_samples))(
        params
    )
    updates, opt_state = optimizer.update(gradients, opt_state)
    return optax.apply_updates(params, updates), opt_state, loss


class LoopPeer:
    """Training state per K, and the parameters trained last."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.rng = np.random.default_rng(0)
        self.key = jax.random.key(0)
        self.states: dict[int, tuple] = {}
        self.params: Params = jax.tree.map(jnp.asarray, initial_weights())
        self.estimate = jax.jit(bound, static_argnames="num_samples")

    def train(self, num_samples: int, batch_size: int, steps: int) -> float:
        """Take `steps` steps, in permuted epochs over the data."""
        if num_samples not in self.states:
            start = jax.tree.map(jnp.asarray, initial_weights())
            self.states[num_samples] = start, optimizer.init(start)
        params, opt_state = self.states[num_samples]
        per_epoch = len(self.images.train) // batch_size
        total = 0.0
        for step in range(steps):
            if step % per_epoch == 0:
                order = self.rng.permutation(len(self.images.train))
            place = step % per_epoch * batch_size
            batch = self.images.train[order[place : place + batch_size]]
            uniform = self.rng.random(batch.shape, np.float32)
            x = (255 * uniform < batch).astype(np.float32)
            self.key, key = jax.random.split(self.key)
            params, opt_state, loss = train_step(params, opt_state, key, x, num_samples)
            total += loss
        self.states[num_samples] = params, opt_state
        self.params = params
        return float(total) / steps

    def evaluate(self, num_samples: int, num_images: int) -> float:
        """Mean log-likelihood, image by image."""
        keys = jax.random.split(self.key, num_images)
        images = self.images.test[:num_images, None]
        found = [
            self.estimate(self.params, key, x, num_samples)
            for key, x in zip(keys, images, strict=True)
        ]
        return float(np.mean(jax.device_get(found)))


if __name__ == "__main__":
    options = arguments("JAX in a Python loop").parse_args()
    serve(LoopPeer(load_images(options.data)), packages=("jax", "optax"))
