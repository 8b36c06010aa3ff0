"""The stacked denoising autoencoder: every layer learns to denoise the one below it.

    h_0 = x - mean,    h_l = relu(W_l h_{l-1} + b_l)
    loss_l = |h_{l-1} - h'_{l-1}|^2,    h'_{l-1} = decoder_l(encoder_l(h~_{l-1})),

where h~ is h with a share nu of its coordinates masked.

The layers are trained one after the other, with the lower layers fixed. Training of all
layers then starts from these weights, as a deep denoising autoencoder or, with a
classifier on the uppermost code, for labels (`vaejax.evaluation.fine_tuned_accuracy`).

Vincent, Larochelle, Lajoie, Bengio and Manzagol 2010, "Stacked denoising autoencoders".
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from vaejax.core import Example, Key, Keys, Model, Params, PyTree, Scalar, check_data
from vaejax.core.ranges import Shape
from vaejax.models.corruption import Corrupt, corruption
from vaejax.models.denoising_autoencoder import denoising_autoencoder
from vaejax.ops.matmul import vector_times_matrix

BATCH_SIZE = 100


def stacked_denoising_autoencoder(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 128,
    hidden: Sequence[int] = (256,),
    level: float = 0.25,
    pretraining_steps: int = 1000,
    learning_rate: float = 1e-3,
) -> Model:
    """A deep denoising autoencoder that starts from layers trained one by one.

    Valid for: the bound `reconstruction` by the estimator `pathwise`. All units are
    rectified, those of the data are linear. The layers are trained where a training
    starts (`Extras.start`).

    Args:
        data_shape, data_mean, latent_dim, hidden: as of `autoencoder`.
        level: the probability nu that a coordinate of a layer's input is masked.
        pretraining_steps: of every layer, by Adam on batches of 100.
        learning_rate: of that, falling to zero by a cosine.
    """
    model = denoising_autoencoder(
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dim=latent_dim,
        hidden=hidden,
        units="relu",
        level=level,
    )
    center = jnp.zeros(data_shape) if data_mean is None else jnp.asarray(data_mean)
    depth = len(hidden) + 1
    corrupt = corruption("masking", level)
    adam = optax.adam(optax.cosine_decay_schedule(learning_rate, pretraining_steps))

    def start(params: Params, examples: Example, key: Key) -> Params:
        x = check_data(model, examples).x
        encoder, decoder = (
            dict(network["layers"]) for network in (params.encoder, params.decoder)
        )
        h, shift = x.reshape(len(x), -1), jnp.ravel(center)
        for layer in range(depth):
            mirror = depth - 1 - layer
            loss = partial(_loss, corrupt, jax.nn.relu if layer else lambda x: x, shift)
            keys = jax.random.split(jax.random.fold_in(key, layer), pretraining_steps)
            pair = encoder[layer], decoder[mirror]
            encoder[layer], decoder[mirror] = _train(loss, adam, h, pair, keys)
            h = jax.vmap(lambda h, w=encoder[layer], s=shift: _code(w, h - s))(h)
            shift = jnp.zeros(())
        return params._replace(encoder={"layers": encoder}, decoder={"layers": decoder})

    return dataclasses.replace(
        model,
        name="stacked_denoising_autoencoder",
        extras=dataclasses.replace(model.extras, start=start),
    )


def _affine(layer: PyTree, h: Float[Array, " in"]) -> Float[Array, " out"]:
    return vector_times_matrix(h, layer["kernel"]) + layer["bias"]


def _code(layer: PyTree, h: Float[Array, " in"]) -> Float[Array, " out"]:
    return jax.nn.relu(_affine(layer, h))


def _loss(
    corrupt: Corrupt,
    units: Callable[[Array], Array],
    shift: Array,
    pair: tuple[PyTree, PyTree],
    key: Key,
    h: Float[Array, " in"],
) -> Scalar:
    """The squared error of a layer's input, from the code of its corruption."""
    up, down = pair
    told = units(_affine(down, _code(up, corrupt(key, h) - shift)))
    return jnp.square(told - h).sum()


@partial(jax.jit, static_argnums=(0, 1))
def _train(
    loss: Callable[..., Scalar],
    adam: optax.GradientTransformation,
    inputs: Float[Array, "N in"],
    pair: tuple[PyTree, PyTree],
    keys: Keys,
) -> tuple[PyTree, PyTree]:
    """Both halves of a layer, trained to denoise the layer's inputs."""

    def step(carry: PyTree, key: Key) -> tuple[PyTree, None]:
        pair, moments = carry
        choice_key, noise_key = jax.random.split(key)
        h = inputs[jax.random.randint(choice_key, (BATCH_SIZE,), 0, len(inputs))]
        noise_keys = jax.random.split(noise_key, BATCH_SIZE)

        def mean_loss(pair: PyTree) -> Scalar:
            return jax.vmap(partial(loss, pair))(noise_keys, h).mean()

        updates, moments = adam.update(jax.grad(mean_loss)(pair), moments)
        return (optax.apply_updates(pair, updates), moments), None

    return jax.lax.scan(step, (pair, adam.init(pair)), keys)[0][0]
