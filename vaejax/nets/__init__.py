"""Networks as pairs of pure functions over plain dicts; flax lives here.

A flax NNX module is built once, split into its static graph and its arrays, and never
leaves `from_nnx`: training sees a dict, and callers see a function.

The parameters are of JAX's default float: float32, or float64 under `jax_enable_x64`. A
user's module has float32 parameters unless it is built with `param_dtype=float`.
"""

from vaejax.nets.convolutional import (
    conv_decoder,
    conv_encoder,
    grid_decoder,
    grid_encoder,
    grid_shape,
)
from vaejax.nets.mlp import mlp
from vaejax.nets.network import ACTIVATIONS, Network, activation_named, from_nnx
from vaejax.nets.transformer import transformer

__all__ = [
    "ACTIVATIONS",
    "Network",
    "activation_named",
    "conv_decoder",
    "conv_encoder",
    "from_nnx",
    "grid_decoder",
    "grid_encoder",
    "grid_shape",
    "mlp",
    "transformer",
]
