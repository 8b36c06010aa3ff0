"""Convolutional encoders and decoders of images."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vaejax.core.build import checked
from vaejax.core.ranges import PerStageOrZero, Size
from vaejax.nets.layers import conv_layer, convolved, linear, plus_bias, start_at
from vaejax.nets.modules import from_nnx
from vaejax.nets.network import Network, activation_named
from vaejax.ops.convolution import convolve_transposed

# In each pixel a quarter of a transposed kernel at stride 2 meets: `fan_in` ignores
# this.
TRANSPOSED = nnx.initializers.variance_scaling(8.0, "fan_in", "truncated_normal")


@checked
def conv_encoder(
    image_shape: tuple[int, int, int],
    channels: Sequence[int],
    out_size: Size,
    activation: str = "relu",
    blocks: PerStageOrZero = 0,
) -> Network:
    """Convolutions that halve the image, one per entry of `channels`, then linear.

    Each convolution is followed by `blocks` residual blocks (see `_Stage`).
    """
    act = activation_named(activation)

    class ConvEncoder(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.halving = _Halving(image_shape[2], channels, act, blocks, rngs)
            size = math.prod(grid_shape(image_shape, channels)) * channels[-1]
            self.head = linear(size, out_size, rngs)

        def __call__(self, x: Float[Array, "H W C"]) -> Float[Array, " out"]:
            return self.head(self.halving(x).reshape(-1))

    return from_nnx(ConvEncoder)


@checked
def conv_decoder(
    in_size: Size,
    channels: Sequence[int],
    image_shape: tuple[int, int, int],
    activation: str = "relu",
    out_bias: Array | None = None,
    blocks: PerStageOrZero = 0,
) -> Network:
    """Linear, then transposed convolutions that double the image, cropped to size.

    `channels` are the depths from the smallest image on, each with `blocks` residual
    blocks; `image_shape` [H, W, C] is the output's.
    """
    act = activation_named(activation)
    height, width, depth = image_shape
    grid = *grid_shape(image_shape, channels), channels[0]

    class ConvDecoder(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.stem = linear(in_size, math.prod(grid), rngs)
            self.doubling = _Doubling(channels, depth, act, blocks, out_bias, rngs)

        def __call__(self, z: Float[Array, " Z"]) -> Float[Array, "H W C"]:
            return self.doubling(self.stem(z).reshape(grid))[:height, :width]

    return from_nnx(ConvDecoder)


@checked
def grid_encoder(
    image_shape: tuple[int, int, int],
    channels: Sequence[int],
    out_depth: int,
    activation: str = "relu",
    blocks: PerStageOrZero = 0,
) -> Network:
    """`conv_encoder` with a vector at each place of the smallest image, [h, w, out]."""
    act = activation_named(activation)

    class GridEncoder(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.halving = _Halving(image_shape[2], channels, act, blocks, rngs)
            self.head = conv_layer(channels[-1], out_depth, 1, rngs)

        def __call__(self, x: Float[Array, "H W C"]) -> Float[Array, "h w out"]:
            return convolved(self.halving(x), self.head)

    return from_nnx(GridEncoder)


@checked
def grid_decoder(
    in_depth: int,
    channels: Sequence[int],
    image_shape: tuple[int, int, int],
    activation: str = "relu",
    out_bias: Array | None = None,
    blocks: PerStageOrZero = 0,
) -> Network:
    """`conv_decoder` from a vector at each place of the smallest image, [h, w, in]."""
    act = activation_named(activation)
    height, width, depth = image_shape

    class GridDecoder(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.stem = conv_layer(in_depth, channels[0], 3, rngs)
            self.doubling = _Doubling(channels, depth, act, blocks, out_bias, rngs)

        def __call__(self, z: Float[Array, "h w in"]) -> Float[Array, "H W C"]:
            return self.doubling(convolved(z, self.stem))[:height, :width]

    return from_nnx(GridDecoder)


def grid_shape(
    image_shape: tuple[int, int, int], channels: Sequence[int]
) -> tuple[int, int]:
    """The height and width after each convolution has halved the image."""
    height, width, _ = image_shape
    times = 2 ** len(channels)
    return math.ceil(height / times), math.ceil(width / times)


class _Halving(nnx.Module):
    """Strided convolutions, each followed by residual blocks and an activation."""

    def __init__(
        self,
        depth: int,
        channels: Sequence[int],
        act: Callable[[Array], Array],
        blocks: int,
        rngs: nnx.Rngs,
    ) -> None:
        self.act = act
        self.convs = nnx.List(
            conv_layer(n_in, n_out, 4, rngs)
            for n_in, n_out in pairwise([depth, *channels])
        )
        self.stages = nnx.List(_Stage(depth, blocks, act, rngs) for depth in channels)

    def __call__(self, x: Float[Array, "H W C"]) -> Float[Array, "h w depth"]:
        for conv, stage in zip(self.convs, self.stages, strict=True):
            x = self.act(stage(convolved(x, conv, 2)))
        return x


class _Doubling(nnx.Module):
    """Residual blocks and an activation before each transposed convolution."""

    def __init__(
        self,
        channels: Sequence[int],
        depth: int,
        act: Callable[[Array], Array],
        blocks: int,
        out_bias: Array | None,
        rngs: nnx.Rngs,
    ) -> None:
        self.act = act
        self.stages = nnx.List(_Stage(depth, blocks, act, rngs) for depth in channels)
        self.convs = nnx.List(
            nnx.ConvTranspose(
                n_in,
                n_out,
                (4, 4),
                kernel_init=TRANSPOSED,
                param_dtype=float,
                rngs=rngs,
            )
            for n_in, n_out in pairwise([*channels, depth])
        )
        start_at(self.convs[-1], out_bias)

    def __call__(self, x: Float[Array, "h w depth"]) -> Float[Array, "H W C"]:
        for conv, stage in zip(self.convs, self.stages, strict=True):
            x = convolve_transposed(self.act(stage(x)), conv.kernel[...], 2)
            x = plus_bias(x, conv)
        return x


class _Stage(nnx.Module):
    """Residual blocks, x + gain * (two 3x3 convolutions of x, activated before each).

    There is no batch normalisation, which would make examples depend on each other.
    Instead the scalar gain starts at zero, so that a network of any depth starts as its
    skip path (SkipInit).

    References:
        He et al. 2016, "Identity mappings in deep residual networks",
        arXiv:1603.05027; De and Smith 2020, arXiv:2002.10444.
    """

    def __init__(
        self,
        depth: int,
        blocks: int,
        act: Callable[[Array], Array],
        rngs: nnx.Rngs,
    ) -> None:
        self.act = act
        self.blocks = nnx.List(
            nnx.List(conv_layer(depth, depth, 3, rngs) for _ in range(2))
            for _ in range(blocks)
        )
        self.gains = nnx.List(nnx.Param(jnp.zeros(())) for _ in range(blocks))

    def __call__(self, x: Float[Array, "H W C"]) -> Float[Array, "H W C"]:
        for convs, gain in zip(self.blocks, self.gains, strict=True):
            branch = x
            for conv in convs:
                branch = convolved(self.act(branch), conv)
            x = x + gain[...] * branch
        return x
