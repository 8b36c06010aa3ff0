"""Layers that networks share, with their initial weights."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vaejax.ops.convolution import convolve
from vaejax.ops.matmul import vector_times_matrix

# Rectified layers keep the scale of activations (He et al. 2015, arXiv:1502.01852).
CONVOLUTION = nnx.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


def linear(n_in: int, n_out: int, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear layer with the initial weights of Glorot and Bengio 2010."""
    return nnx.Linear(
        n_in,
        n_out,
        kernel_init=nnx.initializers.glorot_uniform(),
        dot_general=lambda x, kernel, *_, **__: vector_times_matrix(x, kernel),
        param_dtype=float,
        rngs=rngs,
    )


def norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """A layer normalisation."""
    return nnx.LayerNorm(width, param_dtype=float, rngs=rngs)


def conv_layer(n_in: int, n_out: int, size: int, rngs: nnx.Rngs) -> nnx.Conv:
    """A convolution with the initial weights of He et al. 2015."""
    return nnx.Conv(
        n_in,
        n_out,
        (size, size),
        kernel_init=CONVOLUTION,
        param_dtype=float,
        rngs=rngs,
    )


def convolved(
    x: Float[Array, "H W in"], layer: nnx.Conv, stride: int = 1
) -> Float[Array, "h w out"]:
    """The layer's convolution of an image, with its bias."""
    return plus_bias(convolve(x, layer.kernel[...], stride), layer)


def plus_bias(
    x: Float[Array, "H W C"], layer: nnx.Conv | nnx.ConvTranspose
) -> Float[Array, "H W C"]:
    """The image with the layer's bias added to every channel."""
    assert layer.bias is not None
    return x + layer.bias[None, None]


def start_at(layer: nnx.Linear | nnx.ConvTranspose, bias: Array | None) -> None:
    """Start the bias of a layer at these numbers, if they are given."""
    if bias is not None:
        # A copy: training donates its parameters, and the next run starts here too.
        layer.bias = nnx.Param(jnp.array(bias, float))
