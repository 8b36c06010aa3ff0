"""VQ-VAE: a grid of latents, each of which is one of J code vectors.

    e_g = encoder(x)_g,   k_g = argmin_j |e_g - c_j|,   z_g = c_{k_g},   x' = decoder(z)
    loss = -log p(x | x') + sum_g |sg[e_g] - c_{k_g}|^2 + beta |e_g - sg[c_{k_g}]|^2

with sg a stopped gradient. The decoder's gradient passes from z_g to e_g as if they
were equal (straight through), and the last term keeps them together. The second term,
which moves each code to the vectors that it stands for, is one way of learning the
codebook. The other way keeps moving averages of the number N_j of a code's vectors in a
batch and of their sum m_j:

    N_j <- gamma N_j + (1 - gamma) n_j,    m_j <- gamma m_j + (1 - gamma) sum_g e_g
    c_j  = m_j / N_j

Source: van den Oord, Vinyals and Kavukcuoglu 2017, "Neural discrete representation
learning", arXiv:1711.00937, section 3.2 and appendix A.1.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Int

from vaejax.core import (
    Averages,
    Batch,
    Example,
    Extras,
    Family,
    Key,
    Model,
    OwnSamples,
    Params,
    Prior,
    PyTree,
    VaejaxError,
    check_data,
    head_of,
    unknown,
)
from vaejax.core.ranges import PerStageOrZero, Shape
from vaejax.families import point_mass
from vaejax.models.assembly import from_networks, output_start
from vaejax.models.codebooks import CODEBOOKS, Quantized, codebook_loss, nearest
from vaejax.models.parts import NONE, Settings, named_likelihood
from vaejax.nets import Network, grid_decoder, grid_encoder, grid_shape

MOST_IMAGES = 1000  # images whose vectors the codebook starts from


def vq_vae(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 16,
    num_codes: int = 64,
    codebook: str = "loss",
    commitment: float = 0.25,
    decay: float = 0.99,
    smoothing: float = 1e-7,
    channels: Sequence[int] = (32, 64),
    blocks: PerStageOrZero = 1,
    activation: str = "relu",
    likelihood: str = "fixed_normal",
    likelihood_settings: Settings = NONE,
) -> Model:
    """Convolutions to a grid of code vectors, and back to the image.

    Valid for: the bound `reconstruction` by the estimator `pathwise`, whose gradient in
    the encoder is the straight-through one. The uniform prior over the codes is what
    training assumes; pictures need one that is fitted to the codes afterwards.

    Losses are sums over the grid, as log p(x|z) is over pixels: with a `fixed_normal`
    likelihood of scale s, `commitment` weighs against squared errors of 1 / 2 s^2.
    Training starts from codes spread over the vectors of the data (`Extras.start`).

    Args:
        data_shape: [H, W, C] of one image.
        data_mean: mean image; subtracted from what is encoded, and each output
            channel's bias starts at its mean.
        latent_dim: D, the length of a code vector.
        num_codes: J.
        codebook: loss or ema, how it is learned.
        commitment: beta.
        decay: gamma, of moving averages.
        smoothing: epsilon of these, in vectors per example: N_j is taken for
            (N_j + epsilon) / (n + J epsilon) n with n the sum of all N_j.
        channels: depth of each convolution of the encoder, which halves the image's
            height and width; the decoder's are mirrored.
        blocks: residual blocks of two 3x3 convolutions after each of the encoder's,
            and as many in the decoder.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        likelihood: a name in `LIKELIHOODS`.
        likelihood_settings: of the likelihood, such as `fixed_normal`'s scale.
    """
    if len(data_shape) != 3:
        raise VaejaxError(
            f"vq_vae convolves images [H, W, C], not data of shape {data_shape}: use "
            "categorical_mlp"
        )
    if not channels:
        raise VaejaxError("vq_vae needs a convolution: use channels=32 or more")
    if blocks < 0:
        raise VaejaxError(f"blocks is {blocks}: use 0 or more residual blocks")
    if num_codes < 1:
        raise VaejaxError(f"num_codes is {num_codes}: use at least 1")
    if not 0 <= commitment < math.inf:  # so that NaN is refused too
        raise VaejaxError(f"commitment is {commitment}: use at least 0, and finite")
    if codebook not in CODEBOOKS:
        raise unknown("codebook", codebook, CODEBOOKS)
    book = CODEBOOKS[codebook](decay, smoothing)
    height, width, depth = data_shape
    grid = grid_shape((height, width, depth), channels)
    places = math.prod(grid)
    pixels = named_likelihood(likelihood, likelihood_settings)
    num_outputs = head_of(pixels).outputs_per_coordinate
    decoder = grid_decoder(
        latent_dim,
        channels[::-1],
        (height, width, num_outputs * depth),
        activation,
        out_bias=output_start(
            pixels, None if data_mean is None else jnp.mean(data_mean, (0, 1))
        ),
        blocks=blocks,
    )

    def outputs_first(params: dict, z: Array) -> Array:  # [G, D], or flat
        image = decoder.apply(params, z.reshape(*grid, latent_dim))
        return jnp.moveaxis(image.reshape(height, width, num_outputs, depth), 2, 0)

    def first_codes(key: Key) -> PyTree:
        return book.at(jax.random.normal(key, (num_codes, latent_dim)), places)

    model = from_networks(
        "vq_vae",
        encoder=grid_encoder(
            (height, width, depth), channels, latent_dim, activation, blocks
        ),
        decoder=Network(init=decoder.init, apply=outputs_first),
        prior=Prior(
            name="uniform_codes",
            family=_uniform_codes(places),
            init=first_codes,
            apply=lambda encode, params, y: book.codes(params.prior),
        ),
        posterior=point_mass(),
        likelihood=pixels,
        data_shape=data_shape,
        latent_dim=places * latent_dim,
        data_mean=data_mean,
    )

    def encode(params: Params, example: Example) -> Quantized:
        vectors = model.encode(params, example).reshape(places, latent_dim)
        return Quantized(vectors, book.codes(params.prior))

    def start(params: Params, examples: Example, key: Key) -> Params:
        seen = check_data(model, examples)
        codes = _spread_codes(encode, params, seen, key, num_codes)
        return params._replace(prior=book.at(codes, places))

    averages = None
    if (step := book.step) is not None:

        def update(params: Params, batch: Batch) -> PyTree:
            def one(example: Example) -> PyTree:
                return step(params.prior, encode(params, example))

            steps = jax.vmap(one)(batch.example)
            return jax.tree.map(lambda leaf: leaf.mean(0), steps)

        averages = Averages(group="prior", update=update)

    return dataclasses.replace(
        model,
        encode=encode,
        posterior=_nearest_code(),
        latent_shape=jax.ShapeDtypeStruct((places, latent_dim), float),
        extras=Extras(
            regularizers=(codebook_loss(book, commitment),),
            start=start,
            averages=averages,
        ),
    )


def code_indices(
    model: Model, params: Params, examples: Example
) -> Int[np.ndarray, "N G"]:
    """The index of the code at each place of the grid, for every example."""

    @jax.jit
    def indices(params: Params, examples: Example) -> Array:
        return jax.lax.map(
            lambda example: nearest(model.encode(params, example)),
            examples,
            batch_size=256,
        )

    return np.asarray(indices(params, check_data(model, examples)))


def _nearest_code() -> Family:
    """The code nearest to each vector, with a straight-through gradient."""

    def straight_through(q: Quantized) -> Float[Array, "G D"]:
        found = stop_gradient(q.codes[nearest(q)])
        return found + (q.vectors - stop_gradient(q.vectors))

    return dataclasses.replace(
        point_mass(),
        name="nearest_code",
        sample=lambda key, q: straight_through(q),
        mean=straight_through,
        head=None,
    )


def _uniform_codes(places: int) -> Family:
    """Uniformly distributed codes at each place; the parameter is the codes c."""

    def sample(key: Key, codes: Float[Array, "J D"]) -> Float[Array, "G D"]:
        return codes[jax.random.randint(key, (places,), 0, len(codes))]

    return dataclasses.replace(
        point_mass(),
        name="uniform_codes",
        sample=sample,
        log_prob=lambda codes, z: -places * jnp.log(jnp.asarray(len(codes), float)),
        mean=lambda codes: jnp.tile(codes.mean(0), (places, 1)),
        head=None,
        reparam=None,
        has_density=True,
        own_samples=OwnSamples(),
    )


def _spread_codes(
    encode: Callable[[Params, Example], Quantized],
    params: Params,
    examples: Example,
    key: Key,
    num_codes: int,
) -> Float[Array, "J D"]:
    """Initial codes: vectors of some examples, far from each other (k-means++)."""
    from sklearn.cluster import kmeans_plusplus

    few_key, seed_key = jax.random.split(key)
    count = len(examples.x)
    few = jax.random.permutation(few_key, count)[:MOST_IMAGES]
    chosen = jax.tree.map(lambda leaf: leaf[few], examples)
    vectors = jax.jit(jax.vmap(lambda one: encode(params, one).vectors))(chosen)
    flat = np.asarray(vectors).reshape(-1, vectors.shape[-1])
    if len(flat) < num_codes:
        raise VaejaxError(
            f"{count} images have {len(flat)} vectors, too few for {num_codes} codes "
            "to start from: use fewer codes"
        )
    seed = int(jax.random.randint(seed_key, (), 0, 2**31 - 1))
    codes, _ = kmeans_plusplus(flat, num_codes, random_state=seed)
    return jnp.asarray(codes, float)
