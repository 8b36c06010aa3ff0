"""Networks as pairs of pure functions over plain dicts; flax lives here.

A module of flax or equinox is split into its static part and its arrays, and never
leaves its adapter: training sees a dict, and callers see a function.

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
from vaejax.nets.modules import as_network, from_equinox, from_linen, from_nnx
from vaejax.nets.network import ACTIVATIONS, Network, activation_named
from vaejax.nets.transformer import transformer

__all__ = [
    "ACTIVATIONS",
    "Network",
    "activation_named",
    "as_network",
    "conv_decoder",
    "conv_encoder",
    "from_equinox",
    "from_linen",
    "from_nnx",
    "grid_decoder",
    "grid_encoder",
    "grid_shape",
    "mlp",
    "transformer",
]
