"""The masked autoencoder: a transformer predicts hidden patches from visible ones.

An image is cut into N patches, of which a random share (75%) is dropped before the
encoder, which costs less than with all patches. The decoder, a smaller transformer,
receives a token for each visible patch and the same learned token for each hidden
patch, all with their positions in the image, and

    loss = -log p(x_hidden | x_seen) = |x_hidden - x'_hidden|^2 / 2 s^2 + constant

He, Chen, Xie, Li, Dollar and Girshick 2022, "Masked autoencoders are scalable vision
learners", arXiv:2111.06377.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int, Shaped

from vaejax.core import (
    Family,
    Key,
    Model,
    OwnSamples,
    Params,
    PyTree,
    Scalar,
    VaejaxError,
)
from vaejax.core.ranges import Layers, Shape
from vaejax.families import point_mass
from vaejax.nets import mlp, transformer

CONTRAST = 4.0  # scales the spread of pixels in [0, 1], about 1/4, to about 1


class Seen(NamedTuple):
    """The code: the encoder's tokens, and the visible patches."""

    tokens: Float[Array, "V width"]
    patches: Float[Array, "V P"]  # as in the image
    places: Int[Array, " V"]  # among the N of the image


class Guess(NamedTuple):
    """The whole image, with visible pixels unchanged, and a mask of hidden pixels."""

    mean: Float[Array, "H W C"]
    hidden: Bool[Array, "H W C"]


class Image(NamedTuple):
    """The inputs of the code, besides the choice of patches."""

    encoder: PyTree
    x: Float[Array, "H W C"]


def masked_autoencoder(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    mask_ratio: float = 0.75,
    patch_size: int = 4,
    width: int = 64,
    depth: Layers = 4,
    heads: int = 4,
    decoder_width: int = 64,
    decoder_depth: Layers = 2,
    scale: float = 0.1,
) -> Model:
    """A vision transformer that is trained to predict hidden patches.

    Valid for: the bound `reconstruction` by the estimator `pathwise`. The mean of the
    posterior is the code of a fixed choice of patches. Of the same parameters, the
    model with a `mask_ratio` of 0 encodes whole images.

    Args:
        data_shape: [H, W, C] of one image.
        data_mean: mean image, [H, W, C], subtracted from what the networks see and
            added to what they tell.
        mask_ratio: share of the patches that are hidden, at least 0 and below 1; at
            least one is seen. With 0 the loss is of all pixels.
        patch_size: height and width of a patch, which divides H and W.
        width, depth, heads: of the encoder's transformer.
        decoder_width, decoder_depth: of the decoder's.
        scale: of the normal pixels.
    """
    if len(data_shape) != 3 or data_shape[0] % patch_size or data_shape[1] % patch_size:
        raise VaejaxError(
            f"masked_autoencoder cuts images [H, W, C] into patches of {patch_size} "
            f"by {patch_size}, not data of shape {data_shape}: use a patch_size that "
            "divides H and W, or autoencoder"
        )
    if not 0 <= mask_ratio < 1:
        raise VaejaxError(
            f"mask_ratio is {mask_ratio}: use a number of at least 0 and below 1"
        )
    rows, columns = data_shape[0] // patch_size, data_shape[1] // patch_size
    count, size = rows * columns, patch_size**2 * data_shape[2]
    num_seen = max(1, round(count * (1 - mask_ratio)))
    mean = np.zeros(data_shape) if data_mean is None else data_mean
    center = _patches(jnp.asarray(mean, float), patch_size)

    encoder_parts = {
        "embed": mlp(size, (), width),
        "blocks": transformer(width, depth, heads),
    }
    decoder_parts = {
        "embed": mlp(width, (), decoder_width),
        "blocks": transformer(decoder_width, decoder_depth, heads),
        "pixels": mlp(decoder_width, (), size),
    }
    of_encoder = jnp.asarray(positions(rows, columns, width))
    of_decoder = jnp.asarray(positions(rows, columns, decoder_width))

    def init(key: Key) -> Params:
        encoder_key, decoder_key, token_key = jax.random.split(key, 3)

        def start(parts: dict, key: Key) -> PyTree:
            keys = jax.random.split(key, len(parts))
            return {n: parts[n].init(k) for n, k in zip(parts, keys, strict=True)}

        token = 0.02 * jax.random.normal(token_key, (decoder_width,))
        decoder = start(decoder_parts, decoder_key) | {"mask_token": token}
        # Training starts near the mean image: transformers that first have to unlearn a
        # random image tend to stay at the mean.
        decoder["pixels"] = jax.tree.map(lambda w: 0.01 * w, decoder["pixels"])
        return Params(start(encoder_parts, encoder_key), decoder, ())

    def look(image: Image, places: Int[Array, " V"]) -> Seen:
        """Encode only the patches at these places."""
        patches = _patches(image.x, patch_size)[places]
        embed = jax.vmap(encoder_parts["embed"].apply, (None, 0))
        contrast = CONTRAST * (patches - center[places])
        tokens = embed(image.encoder["embed"], contrast)
        tokens = encoder_parts["blocks"].apply(
            image.encoder["blocks"], tokens + of_encoder[places]
        )
        return Seen(tokens, patches, places)

    def choose(key: Key) -> Int[Array, " V"]:
        return jnp.sort(jax.random.permutation(key, count)[:num_seen])

    def decode(params: Params, seen: Seen, y: Array | None) -> Guess:
        weights, per_token = params.decoder, (None, 0)
        known = jax.vmap(decoder_parts["embed"].apply, per_token)(
            weights["embed"], seen.tokens
        )
        tokens = jnp.broadcast_to(weights["mask_token"], (count, decoder_width))
        tokens = tokens.at[seen.places].set(known) + of_decoder
        tokens = decoder_parts["blocks"].apply(weights["blocks"], tokens)
        told = jax.vmap(decoder_parts["pixels"].apply, per_token)(
            weights["pixels"], tokens
        )
        hidden = jnp.ones((count, size), bool)
        told = told + center
        if num_seen < count:
            hidden = hidden.at[seen.places].set(False)
            told = told.at[seen.places].set(seen.patches)
        return Guess(_image(told, data_shape), _image(hidden, data_shape))

    def draw_code(key: Key) -> Seen:
        places_key, token_key, patch_key = jax.random.split(key, 3)
        return Seen(
            jax.random.normal(token_key, (num_seen, width)),
            jax.random.uniform(patch_key, (num_seen, size)),
            choose(places_key),
        )

    fixed = jax.random.key(0)
    return Model(
        name="masked_autoencoder",
        init=init,
        encode=lambda params, example: Image(params.encoder, example.x),
        decode=decode,
        prior=lambda params, y: (),
        posterior=dataclasses.replace(
            point_mass(),
            name="patches",
            sample=lambda key, image: look(image, choose(key)),
            mean=lambda image: look(image, choose(fixed)),
            head=None,
            exact_mean=False,
        ),
        latent_prior=dataclasses.replace(
            point_mass(),
            name="noise",  # only for pictures
            sample=lambda key, params: draw_code(key),
            mean=lambda params: draw_code(fixed),
            head=None,
            exact_mean=False,
            own_samples=OwnSamples(),
        ),
        likelihood=_hidden_pixels(scale),
        data_shape=data_shape,
    )


def represent(model: Model, encoder: PyTree, x: Float[Array, "H W C"]) -> Array:
    """The mean token of the visible patches: of all patches, if none is hidden."""
    return model.posterior.mean(Image(encoder, x)).tokens.mean(0)


def positions(rows: int, columns: int, width: int) -> Float[np.ndarray, "N width"]:
    """Fixed sines and cosines of a patch's row and column (Vaswani et al. 2017).

    Raises:
        VaejaxError: a width that is no multiple of 4.
    """
    if width % 4:
        raise VaejaxError(
            f"width is {width}: use a multiple of 4, for the codes of the positions"
        )
    frequencies = 10_000.0 ** (-np.arange(width // 4) / (width // 4))
    places = np.indices((rows, columns)).reshape(2, -1, 1) * frequencies
    return (
        np.concatenate([np.sin(places), np.cos(places)], 2)
        .swapaxes(0, 1)
        .reshape(rows * columns, width)
    )


def _patches(x: Array, size: int) -> Array:
    """An image [H, W, C] as [N, size^2 C], row by row."""
    height, width, depth = x.shape
    cut = x.reshape(height // size, size, width // size, size, depth)
    return cut.swapaxes(1, 2).reshape(-1, size**2 * depth)


def _image(patches: Shaped[Array, "N P"], shape: tuple[int, ...]) -> Array:
    """The image [H, W, C] from all of its patches."""
    height, width, depth = shape
    size = math.isqrt(patches.shape[1] // depth)
    cut = patches.reshape(height // size, width // size, size, size, depth)
    return cut.swapaxes(1, 2).reshape(shape)


def _hidden_pixels(scale: float) -> Family:
    """Normal pixels, with the density of hidden pixels alone: p(x_hidden | x_seen)."""
    if not 0 < scale < math.inf:
        raise VaejaxError(f"scale is {scale}: use a finite number above 0")

    def sample(key: Key, guess: Guess) -> Array:
        noise = scale * jax.random.normal(key, guess.mean.shape)
        return guess.mean + jnp.where(guess.hidden, noise, 0)

    def log_prob(guess: Guess, x: Array) -> Scalar:
        return jnp.where(guess.hidden, norm.logpdf(x, guess.mean, scale), 0).sum()

    return Family(
        name="hidden_pixels",
        sample=sample,
        log_prob=log_prob,
        mean=lambda guess: guess.mean,
    )
