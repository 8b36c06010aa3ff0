"""A transformer over a set of tokens."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vaejax.core import VaejaxError
from vaejax.core.build import checked
from vaejax.nets.layers import linear, norm
from vaejax.nets.modules import from_nnx
from vaejax.nets.network import Network


@checked
def transformer(width: int, depth: int, heads: int, expansion: int = 4) -> Network:
    """Transformer blocks from [T, width] tokens, without positions, to [T, width].

    Layers normalise before attention, before the MLP and at the end, as in the vision
    transformer (Dosovitskiy et al. 2021, arXiv:2010.11929).
    """
    if width % heads:
        raise VaejaxError(
            f"{heads} heads do not divide a width of {width}: use a number of heads "
            "that divides the width"
        )

    class Block(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.norms = nnx.List(norm(width, rngs) for _ in range(2))
            self.query_key_value = linear(width, 3 * width, rngs)
            self.out = linear(width, width, rngs)
            self.up = linear(width, expansion * width, rngs)
            self.down = linear(expansion * width, width, rngs)

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
            self.norm = norm(width, rngs)

        def __call__(self, x: Float[Array, "T width"]) -> Float[Array, "T width"]:
            for block in self.blocks:
                x = block(x)
            return self.norm(x)

    return from_nnx(Transformer)
