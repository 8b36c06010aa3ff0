"""A variational autoencoder from the data to log p(x), on one screen.

    python docs/examples/vae.py

Digits made bits; an importance-weighted bound of eight samples, its
doubly reparameterised gradient, and a training loop of one's own.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from vaejax import Batch, Example, from_networks, log_likelihood, make_objective
from vaejax.bounds import iwae
from vaejax.estimators import dreg
from vaejax.families import bernoulli, diagonal_normal
from vaejax.nets import mlp
from vaejax.priors import standard_normal

LATENTS, HIDDEN, BATCH_SIZE, NUM_TEST = 16, (128, 128), 50, 297


def main(epochs: int = 100, num_samples: int = 5000) -> float:
    """Train, and print the log-likelihood by so many importance samples."""
    # Data: observations, [N, *data_shape].
    intensities = load_digits().images / 16
    bits = np.random.default_rng(0).random(intensities.shape) < intensities
    x = jnp.asarray(bits, float)
    train, test = x[:-NUM_TEST], x[-NUM_TEST:]

    # Model: two networks, read as the parameters of two families, and a prior.
    model = from_networks(
        "vae",
        encoder=mlp(64, HIDDEN, 2 * LATENTS),  # a mean and a scale for every latent
        decoder=mlp(LATENTS, HIDDEN, 64),  # a logit for every pixel
        prior=standard_normal(LATENTS),
        posterior=diagonal_normal(),
        likelihood=bernoulli(),
        data_shape=(8, 8),
        latent_dim=LATENTS,
    )

    # Objective: what is maximised, and how it is differentiated.
    objective = make_objective(model, iwae(), dreg(), num_samples=8)

    # Training: any loop over `objective.loss`, which is a function of a batch.
    optimizer = optax.adam(1e-3)
    params, state = objective.init(jax.random.key(0))
    carry = params, state, optimizer.init(params)

    @jax.jit
    def step(carry, key, images):
        params, state, opt_state = carry
        batch = Batch(Example(images), jnp.arange(len(images)))
        gradient = jax.value_and_grad(objective.loss, has_aux=True)
        (loss, (state, _)), grads = gradient(params, state, key, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), state, opt_state), loss

    for epoch in range(epochs):
        shuffled = np.random.default_rng(epoch).permutation(len(train))
        keys = jax.random.split(jax.random.key(epoch), len(train) // BATCH_SIZE)
        for key, rows in zip(keys, shuffled.reshape(-1, BATCH_SIZE), strict=True):
            carry, loss = step(carry, key, train[rows])
        if epoch % 10 == 0:
            print(f"epoch {epoch:3d}   bound of the last batch {-loss:.2f} nats")

    # Evaluation: importance sampling, with its Monte Carlo error.
    arguments = model, carry[0], Example(test), jax.random.key(2)
    summary = log_likelihood(*arguments, num_samples=num_samples).summary()
    print("test log p(x), nats:", summary)
    return summary["log_likelihood"]


if __name__ == "__main__":
    main()
