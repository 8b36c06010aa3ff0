"""Networks as pairs of pure functions over plain dicts; the only file with flax.

A flax NNX module is built once, split into its static graph and its arrays, and never
leaves `from_nnx`: training sees a dict, and callers see a function.

The parameters are of JAX's default float: float32, or float64 under `jax_enable_x64`. A
user's module has float32 parameters unless it is built with `param_dtype=float`.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vaejax.core import Key, PyTree, VaejaxError, record, unknown
from vaejax.ops.convolution import convolve, convolve_transposed
from vaejax.ops.matmul import vector_times_matrix

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
}

# Rectified layers keep the scale of activations (He et al. 2015, arXiv:1502.01852). In
# each pixel a quarter of a transposed kernel at stride 2 meets: `fan_in` ignores this.
CONVOLUTION = nnx.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
TRANSPOSED = nnx.initializers.variance_scaling(8.0, "fan_in", "truncated_normal")


@record
class Network:
    """One example in, one array out: `apply(params, x)`, with `params = init(key)`."""

    init: Callable[[Key], PyTree]
    apply: Callable[[PyTree, Array], Array]


def from_nnx(build: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """Turn a flax NNX module into a `Network` over a plain dict of arrays."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

    def init(key: Key) -> PyTree:
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key)), nnx.Param))

    def apply(params: PyTree, x: Array) -> Array:
        module = nnx.merge(graph, nnx.State(jax.tree.map(nnx.Param, params)))
        return module(x)

    return Network(init=init, apply=apply)


def activation_named(name: str) -> Callable[[Array], Array]:
    """Look up an activation function by name; the error lists the names."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def mlp(
    in_size: int,
    hidden: Sequence[int],
    out_size: int,
    activation: str = "tanh",
    out_bias: Array | None = None,
) -> Network:
    """A multilayer perceptron on the flattened input, linear at its output.

    Weights by Glorot and Bengio 2010; biases start at zero, the last one at `out_bias`.
    """
    act = activation_named(activation)
    sizes = [in_size, *hidden, out_size]

    class MLP(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.layers = nnx.List(
                _linear(n_in, n_out, rngs) for n_in, n_out in pairwise(sizes)
            )
            _start_at(self.layers[-1], out_bias)

        def __call__(self, x: Float[Array, "*event"]) -> Float[Array, " out"]:
            x = x.reshape(in_size)
            for layer in self.layers[:-1]:
                x = act(layer(x))
            return self.layers[-1](x)

    return from_nnx(MLP)


def conv_encoder(
    image_shape: tuple[int, int, int],
    channels: Sequence[int],
    out_size: int,
    activation: str = "relu",
    blocks: int = 0,
) -> Network:
    """Convolutions that halve the image, one per entry of `channels`, then linear.

    Each convolution is followed by `blocks` residual blocks (see `_Stage`).
    """
    act = activation_named(activation)

    class ConvEncoder(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.halving = _Halving(image_shape[2], channels, act, blocks, rngs)
            size = math.prod(grid_shape(image_shape, channels)) * channels[-1]
            self.head = _linear(size, out_size, rngs)

        def __call__(self, x: Float[Array, "H W C"]) -> Float[Array, " out"]:
            return self.head(self.halving(x).reshape(-1))

    return from_nnx(ConvEncoder)


def conv_decoder(
    in_size: int,
    channels: Sequence[int],
    image_shape: tuple[int, int, int],
    activation: str = "relu",
    out_bias: Array | None = None,
    blocks: int = 0,
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
            self.stem = _linear(in_size, math.prod(grid), rngs)
            self.doubling = _Doubling(channels, depth, act, blocks, out_bias, rngs)

        def __call__(self, z: Float[Array, " Z"]) -> Float[Array, "H W C"]:
            return self.doubling(self.stem(z).reshape(grid))[:height, :width]

    return from_nnx(ConvDecoder)


def grid_encoder(
    image_shape: tuple[int, int, int],
    channels: Sequence[int],
    out_depth: int,
    activation: str = "relu",
    blocks: int = 0,
) -> Network:
    """`conv_encoder` with a vector at each place of the smallest image, [h, w, out]."""
    act = activation_named(activation)

    class GridEncoder(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.halving = _Halving(image_shape[2], channels, act, blocks, rngs)
            self.head = _conv(channels[-1], out_depth, 1, rngs)

        def __call__(self, x: Float[Array, "H W C"]) -> Float[Array, "h w out"]:
            return _convolved(self.halving(x), self.head)

    return from_nnx(GridEncoder)


def grid_decoder(
    in_depth: int,
    channels: Sequence[int],
    image_shape: tuple[int, int, int],
    activation: str = "relu",
    out_bias: Array | None = None,
    blocks: int = 0,
) -> Network:
    """`conv_decoder` from a vector at each place of the smallest image, [h, w, in]."""
    act = activation_named(activation)
    height, width, depth = image_shape

    class GridDecoder(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.stem = _conv(in_depth, channels[0], 3, rngs)
            self.doubling = _Doubling(channels, depth, act, blocks, out_bias, rngs)

        def __call__(self, z: Float[Array, "h w in"]) -> Float[Array, "H W C"]:
            return self.doubling(_convolved(z, self.stem))[:height, :width]

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
            _conv(n_in, n_out, 4, rngs) for n_in, n_out in pairwise([depth, *channels])
        )
        self.stages = nnx.List(_Stage(depth, blocks, act, rngs) for depth in channels)

    def __call__(self, x: Float[Array, "H W C"]) -> Float[Array, "h w depth"]:
        for conv, stage in zip(self.convs, self.stages, strict=True):
            x = self.act(stage(_convolved(x, conv, 2)))
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
        _start_at(self.convs[-1], out_bias)

    def __call__(self, x: Float[Array, "h w depth"]) -> Float[Array, "H W C"]:
        for conv, stage in zip(self.convs, self.stages, strict=True):
            x = convolve_transposed(self.act(stage(x)), conv.kernel[...], 2)
            x = _plus_bias(x, conv)
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
            nnx.List(_conv(depth, depth, 3, rngs) for _ in range(2))
            for _ in range(blocks)
        )
        self.gains = nnx.List(nnx.Param(jnp.zeros(())) for _ in range(blocks))

    def __call__(self, x: Float[Array, "H W C"]) -> Float[Array, "H W C"]:
        for convs, gain in zip(self.blocks, self.gains, strict=True):
            branch = x
            for conv in convs:
                branch = _convolved(self.act(branch), conv)
            x = x + gain[...] * branch
        return x


def transformer(width: int, depth: int, heads: int, expansion: int = 4) -> Network:
    """Transformer blocks from [T, width] tokens, without positions, to [T, width].

    Layers normalise before attention, before the MLP and at the end, as in the vision
    transformer (Dosovitskiy et al. 2021, arXiv:2010.11929).
    """
    if width % heads:
        raise VaejaxError(
            f"{heads} heads do not divide a width of {width}: use a divisor"
        )

    class Block(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.norms = nnx.List(_norm(width, rngs) for _ in range(2))
            self.query_key_value = _linear(width, 3 * width, rngs)
            self.out = _linear(width, width, rngs)
            self.up = _linear(width, expansion * width, rngs)
            self.down = _linear(expansion * width, width, rngs)

        def __call__(self, x: Float[Array, "T width"]) -> Float[Array, "T width"]:
            x = x + self.attend(self.norms[0](x))
            hidden = jax.nn.gelu(jax.vmap(self.up)(self.norms[1](x)))
            return x + jax.vmap(self.down)(hidden)

        def attend(self, x: Float[Array, "T width"]) -> Float[Array, "T width"]:
            split = jax.vmap(self.query_key_value)(x).reshape(len(x), 3, heads, -1)
            query, key, value = jnp.moveaxis(split, 1, 0)
            # Not `jax.nn.dot_product_attention`, whose softmax is always of float32.
            scores = jnp.einsum("thc,shc->hts", query, key) / math.sqrt(width // heads)
            together = jnp.einsum("hts,shc->thc", jax.nn.softmax(scores), value)
            return jax.vmap(self.out)(together.reshape(len(x), width))

    class Transformer(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.blocks = nnx.List(Block(rngs) for _ in range(depth))
            self.norm = _norm(width, rngs)

        def __call__(self, x: Float[Array, "T width"]) -> Float[Array, "T width"]:
            for block in self.blocks:
                x = block(x)
            return self.norm(x)

    return from_nnx(Transformer)


def _conv(n_in: int, n_out: int, size: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        n_in,
        n_out,
        (size, size),
        kernel_init=CONVOLUTION,
        param_dtype=float,
        rngs=rngs,
    )


def _convolved(
    x: Float[Array, "H W in"], layer: nnx.Conv, stride: int = 1
) -> Float[Array, "h w out"]:
    return _plus_bias(convolve(x, layer.kernel[...], stride), layer)


def _linear(n_in: int, n_out: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        n_in,
        n_out,
        kernel_init=nnx.initializers.glorot_uniform(),
        dot_general=lambda x, kernel, *_, **__: vector_times_matrix(x, kernel),
        param_dtype=float,
        rngs=rngs,
    )


def _norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(width, param_dtype=float, rngs=rngs)


def _plus_bias(
    x: Float[Array, "H W C"], layer: nnx.Conv | nnx.ConvTranspose
) -> Float[Array, "H W C"]:
    assert layer.bias is not None
    return x + layer.bias[None, None]


def _start_at(layer: nnx.Linear | nnx.ConvTranspose, bias: Array | None) -> None:
    if bias is not None:
        # A copy: training donates its parameters, and the next run starts here too.
        layer.bias = nnx.Param(jnp.array(bias, float))
