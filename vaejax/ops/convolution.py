"""Convolutions that are as fast inside a loop as outside.

XLA's CPU backend runs a convolution in a loop 10 to 15 times slower than outside one,
and training is a loop. On a CPU a convolution is a matrix product of image patches; on
other platforms it is XLA's.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.ops.matmul import of_one_dtype, vector_times_matrix

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def convolve(
    x: Float[Array, "H W in"], kernel: Float[Array, "h w in out"], stride: int = 1
) -> Float[Array, "rows columns out"]:
    """The strided convolution of an image, padded so that ceil(H / stride) rows stay.

    The result is that of `jax.lax.conv_general_dilated` with padding "SAME".
    """
    x, kernel = of_one_dtype(x, kernel)
    if jax.default_backend() != "cpu":
        return jax.lax.conv_general_dilated(
            x[None], kernel, (stride, stride), "SAME", dimension_numbers=DIMENSIONS
        )[0]
    height, width = kernel.shape[:2]
    rows, columns = (-(-size // stride) for size in x.shape[:2])
    padded = jnp.pad(
        x,
        (
            _same_padding(x.shape[0], height, stride),
            _same_padding(x.shape[1], width, stride),
            (0, 0),
        ),
    )
    ends = (rows - 1) * stride + 1, (columns - 1) * stride + 1
    patches = jnp.concatenate(
        [
            padded[i : i + ends[0] : stride, j : j + ends[1] : stride]
            for i in range(height)
            for j in range(width)
        ],
        axis=-1,
    )
    multiply = jax.vmap(jax.vmap(vector_times_matrix, (0, None)), (0, None))
    return multiply(patches, kernel.reshape(-1, kernel.shape[-1]))


def convolve_transposed(
    x: Float[Array, "H W in"], kernel: Float[Array, "h w in out"], stride: int
) -> Float[Array, "rows columns out"]:
    """The transposed convolution that makes an image `stride` times as large.

    The result is that of `jax.lax.conv_transpose` with padding "SAME".
    """
    x, kernel = of_one_dtype(x, kernel)
    if jax.default_backend() != "cpu":
        return jax.lax.conv_transpose(
            x[None], kernel, (stride, stride), "SAME", dimension_numbers=DIMENSIONS
        )[0]
    height, width = x.shape[0] * stride, x.shape[1] * stride
    # `conv_transpose` correlates, and the transpose convolves.
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    larger = jax.ShapeDtypeStruct((height, width, kernel.shape[3]), x.dtype)
    transposed = jax.linear_transpose(
        partial(convolve, kernel=flipped, stride=stride), larger
    )
    return transposed(x)[0]


def _same_padding(size: int, width: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + width - size, 0)
    return total // 2, total - total // 2
