"""Multilayer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise

from flax import nnx
from jaxtyping import Array, Float

from vaejax.core.build import checked
from vaejax.core.ranges import Size
from vaejax.nets.layers import linear, start_at
from vaejax.nets.modules import from_nnx
from vaejax.nets.network import Network, activation_named


@checked
def mlp(
    in_size: Size,
    hidden: Sequence[int],
    out_size: Size,
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
                linear(n_in, n_out, rngs) for n_in, n_out in pairwise(sizes)
            )
            start_at(self.layers[-1], out_bias)

        def __call__(self, x: Float[Array, "*event"]) -> Float[Array, " out"]:
            x = x.reshape(in_size)
            for layer in self.layers[:-1]:
                x = act(layer(x))
            return self.layers[-1](x)

    return from_nnx(MLP)
