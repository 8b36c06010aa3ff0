"""The benchmark's work in NumPyro: SVI, with every step of the work in one program.

The bound is `RenyiELBO(alpha=0)`, the importance-weighted one, for K > 1 and
`Trace_ELBO` for K = 1; the loop over steps is a `lax.scan` under `jit` with a donated
state. Evaluation is the same bound, in chunks that are put together by logsumexp.
"""

import math
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO
from numpyro.infer.svi import SVIState
from protocol import (
    LEARNING_RATE,
    Images,
    Weights,
    arguments,
    initial_weights,
    load_images,
    serve,
)

# Decoder rows at a time in evaluation; the fastest on this machine is taken.
CHUNKS = (250, 500, 1000, 2500, 5000)
ENCODER, DECODER = initial_weights()


def mlp(layers: Weights, x: jax.Array) -> jax.Array:
    """Linear layers with tanh between them."""
    *hidden, (kernel, bias) = layers
    for hidden_kernel, hidden_bias in hidden:
        x = jnp.tanh(x @ hidden_kernel + hidden_bias)
    return x @ kernel + bias


def model(x: jax.Array) -> None:
    """Declare standard normal latents, Bernoulli pixels, for binary x [B, 784]."""
    decoder = numpyro.param("decoder", DECODER)
    with numpyro.plate("batch", len(x)):
        latent_dim = DECODER[0][0].shape[0]
        z = numpyro.sample("z", dist.Normal().expand([latent_dim]).to_event(1))
        logits = mlp(decoder, z)
        numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


def guide(x: jax.Array) -> None:
    """Declare q(z|x), a diagonal normal."""
    encoder = numpyro.param("encoder", ENCODER)
    with numpyro.plate("batch", len(x)):
        loc, log_scale = jnp.split(mlp(encoder, x), 2, axis=-1)
        numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))


class NumPyroPeer:
    """Training state per K, and the parameters trained last."""

    def __init__(self, images: Images) -> None:
        self.images = jnp.asarray(images.train)
        self.test_images = jnp.asarray(images.test)
        self.rng = np.random.default_rng(0)
        self.states: dict[int, tuple] = {}
        self.params = {"encoder": ENCODER, "decoder": DECODER}
        self.chunk = 0

    def train(self, num_samples: int, batch_size: int, steps: int) -> float:
        """Take `steps` steps, in permuted epochs over the data."""
        if num_samples not in self.states:
            bound = RenyiELBO(0, num_samples) if num_samples > 1 else Trace_ELBO()
            svi = SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), bound)
            state = svi.init(jax.random.PRNGKey(0), self.test_images[:batch_size])
            run = jax.jit(partial(run_steps, svi), donate_argnums=0)
            self.states[num_samples] = svi, run, state
        svi, run, state = self.states[num_samples]
        state, loss = run(state, self.images, self.batches(batch_size, steps))
        self.states[num_samples] = svi, run, state
        self.params = svi.get_params(state)
        return float(loss)

    def batches(self, batch_size: int, steps: int) -> np.ndarray:
        """Draw indices [steps, B], by numpy: it permutes faster than JAX on a CPU."""
        size = len(self.images) // batch_size * batch_size
        epochs = math.ceil(steps * batch_size / size)
        order = [self.rng.permutation(len(self.images))[:size] for _ in range(epochs)]
        return np.concatenate(order)[: steps * batch_size].reshape(steps, batch_size)

    def evaluate(self, num_samples: int, num_images: int) -> float:
        """Mean log-likelihood, in the chunks that are fastest here."""
        if not self.chunk:
            self.chunk = self.fastest_chunk(num_samples)
        return self.log_likelihood(num_samples, num_images, self.chunk)

    def log_likelihood(self, num_samples: int, num_images: int, chunk: int) -> float:
        """Mean over images of the log mean weight of exactly `num_samples` samples."""
        key = jax.random.PRNGKey(1)
        images = self.test_images[:num_images]
        return float(mean_log_likelihood(self.params, key, images, num_samples, chunk))

    def fastest_chunk(self, num_samples: int) -> int:
        """Try each chunk size on a few images, after a first run that compiles."""
        seconds = {}
        for chunk in CHUNKS:
            if num_samples % chunk == 0:
                self.log_likelihood(num_samples, 10, chunk)
                start = time.perf_counter()
                self.log_likelihood(num_samples, 10, chunk)
                seconds[chunk] = time.perf_counter() - start
        return min(seconds, key=lambda chunk: seconds[chunk], default=num_samples)


def run_steps(
    svi: SVI, state: SVIState, images: jax.Array, index: jax.Array
) -> tuple[SVIState, jax.Array]:
    """All steps of `index` [steps, B] in one scan; the mean loss of an image."""

    def step(carry: tuple, batch_index: jax.Array) -> tuple[tuple, jax.Array]:
        state, key = carry
        key, step_key = jax.random.split(key)
        intensity = images[batch_index].astype(jnp.float32) / 255
        x = jax.random.bernoulli(step_key, intensity).astype(jnp.float32)
        # The loss is a sum over the batch; Adam does not mind a constant factor.
        state, loss = svi.update(state, x)
        return (state, key), loss

    key, rng_key = jax.random.split(state.rng_key)
    (state, _), losses = jax.lax.scan(
        step, (state._replace(rng_key=rng_key), key), index
    )
    return state, losses.mean() / index.shape[1]


@partial(jax.jit, static_argnames=("num_samples", "chunk"))
def mean_log_likelihood(
    params: dict, key: jax.Array, images: jax.Array, num_samples: int, chunk: int
) -> jax.Array:
    """One image after the other, chunks of samples one after the other."""
    num_chunks = num_samples // chunk
    bound = RenyiELBO(0, chunk)

    def of_image(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        image_key, x = inputs
        keys = jax.random.split(image_key, num_chunks)
        log_means = jax.lax.map(
            lambda key: -bound.loss(key, params, model, guide, x[None]), keys
        )
        return jax.nn.logsumexp(log_means) - math.log(num_chunks)

    keys = jax.random.split(key, len(images))
    return jax.lax.map(of_image, (keys, images)).mean()


if __name__ == "__main__":
    options = arguments("NumPyro contestant").parse_args()
    serve(NumPyroPeer(load_images(options.data)), packages=("numpyro", "jax"))
