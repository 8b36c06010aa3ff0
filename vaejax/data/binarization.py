"""Binarization protocols, which turn grey images into the x of p(x | z).

The protocols are not interchangeable. On MNIST the same model differs by about 2 nats
between dynamic and static binarization and by 9 to 14 nats when pixels are thresholded,
so every reported likelihood names its protocol.

* dynamic: x_i ~ Bernoulli(intensity_i / 255), drawn anew at every use in training and
  once, by a seed, for validation and test (Salakhutdinov and Murray, 2008; Burda,
  Grosse and Salakhutdinov, 2016, arXiv:1509.00519);
* static: the images are binary already, drawn once by the authors (Larochelle and
  Murray, 2011);
* threshold: x_i = 1 where the intensity is above 127;
* none: x_i = intensity_i / 255, for likelihoods of grey levels and of real numbers;
* dequantized: x_i = (intensity_i + u_i) / 256 with u_i uniform on [0, 1), drawn as in
  the dynamic protocol, so that a density bounds the probability of grey levels (Theis,
  van den Oord and Bethge 2016, arXiv:1511.01844; see `vaejax.evaluation.bits_per_dim`);
* counts: x_i is the stored number of times that word i is in a document, as a float;
* reals: x_i is the stored number itself, NaN where it is missing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped, UInt8

from vaejax.core import Key, Registry, VaejaxError, record
from vaejax.ops.random import one_pass

LEVELS = 256  # number of intensity levels
# The protocols of intensities, the default first.
GREY_LEVELS = ("dynamic", "threshold", "none", "dequantized")  # of drawings
PHOTOGRAPH = ("none", "dequantized", "dynamic", "threshold")


@record
class Protocol:
    """A map from stored images to observations, in training and evaluation."""

    name: str
    # Training, inside the compiled step: a fresh observation of one image.
    sample: Callable[[Key, Shaped[Array, "*event"]], Float[Array, "*event"]]
    # Evaluation: one image of a fixed split as an observation.
    as_float: Callable[[Array], Float[Array, "*event"]]
    # Evaluation splits pass through `fix` once, before use: (images [N, ...], seed).
    # `as_float` takes the result.
    fix: Callable[[np.ndarray, int], np.ndarray]


def bytes_of(image: Shaped[Array, "*event"]) -> UInt8[Array, "*event"]:
    """Return the image if it holds intensities, of dtype uint8.

    Raises:
        VaejaxError: it is of another dtype, as one that is divided by 255 already.
    """
    if image.dtype != np.uint8:
        raise VaejaxError(
            "a protocol, as the `sample` that `observe` is, turns intensities from 0 "
            f"to 255 of dtype uint8 into observations, and was given {image.dtype}: "
            "give the images as they are stored, or observations without `observe`"
        )
    return image


def bernoulli_thresholds(image: UInt8[Array, "*event"]) -> Array:
    """Return the number of 16-bit integers r that make a pixel 1: round(65536 x / 255).

    65536 x / 255 = 257 x + x / 255, so that rounding adds 1 exactly where x > 127.
    P(r < threshold) is 0 at x = 0, 1 at x = 255, and within 2^-17 of x / 255 between.
    """
    return image * jnp.uint32(257) + (image > 127)


def sample_bernoulli(
    key: Key, image: Shaped[Array, "*event"]
) -> Float[Array, "*event"]:
    """Draw a binary image with P(pixel = 1) = intensity / 255.

    Random bits are most of the cost, so every 32-bit word serves two pixels. The draw
    takes 0.4 of the time of `jax.random.bernoulli`, which needs a word for each pixel
    (a batch of 100 MNIST images on two CPU cores: 0.28 against 0.73 ms).
    """
    words = jax.random.bits(one_pass(key), ((image.size + 1) // 2,), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: image.size]
    binary = halves.reshape(image.shape) < bernoulli_thresholds(bytes_of(image))
    return binary.astype(float)


def _bernoulli_once(images: np.ndarray, seed: int) -> np.ndarray:
    drawn = sample_bernoulli(jax.random.key(seed), jnp.asarray(images))
    return np.asarray(drawn.astype(jnp.uint8))


def _dequantize(key: Key, image: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
    return (bytes_of(image) + jax.random.uniform(one_pass(key), image.shape)) / LEVELS


def _dequantize_once(images: np.ndarray, seed: int) -> np.ndarray:
    return np.asarray(_dequantize(jax.random.key(seed), jnp.asarray(images)))


def _to_float(image: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
    return image.astype(float)


def _intensity(image: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
    return bytes_of(image).astype(float) / 255


def _above_half(image: Shaped[Array, "*event"]) -> Float[Array, "*event"]:
    return (bytes_of(image) > 127).astype(float)


PROTOCOLS: Registry[Protocol] = Registry("protocol") | {
    "dynamic": Protocol(
        name="dynamic",
        sample=sample_bernoulli,
        as_float=_to_float,
        fix=_bernoulli_once,
    ),
    "static": Protocol(
        name="static",
        sample=lambda key, image: _to_float(image),
        as_float=_to_float,
        fix=lambda images, seed: images,
    ),
    "threshold": Protocol(
        name="threshold",
        sample=lambda key, image: _above_half(image),
        as_float=_to_float,
        fix=lambda images, seed: (images > 127).astype(np.uint8),
    ),
    "none": Protocol(
        name="none",
        sample=lambda key, image: _intensity(image),
        as_float=_intensity,
        fix=lambda images, seed: images,
    ),
    "dequantized": Protocol(
        name="dequantized",
        sample=_dequantize,
        as_float=lambda image: image,
        fix=_dequantize_once,
    ),
    "counts": Protocol(
        name="counts",
        sample=lambda key, counts: _to_float(counts),
        as_float=_to_float,
        fix=lambda counts, seed: counts,
    ),
    "reals": Protocol(
        name="reals",
        sample=lambda key, x: _to_float(x),
        as_float=_to_float,
        fix=lambda x, seed: x,
    ),
}
