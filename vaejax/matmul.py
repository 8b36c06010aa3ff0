"""A vector times a matrix that stays one matrix product however often it is vmapped.

Per-example code under `vmap` over examples and over importance samples turns `x @ W`
into a product with two batch axes. Its derivative with respect to W contracts both, for
which XLA's CPU backend first transposes the cotangent in memory. This primitive lets
its batch axes lead and multiplies [rows, in] by [in, out], so that per-example code
costs what a hand-flattened batch costs.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from vaejax.sharding import sample_devices


def vector_times_matrix(
    x: Float[Array, " in"], weight: Float[Array, "in out"]
) -> Float[Array, " out"]:
    """`x @ weight`; under any number of `vmap`s over x, one matrix product."""
    return _product.bind(x, weight)


def _multiply(x: Array, weight: Array) -> Array:
    if sample_devices() > 1:  # joined, rows [B * K] would keep a division of B alone
        return x @ weight
    rows = x.reshape(-1, weight.shape[0])
    return (rows @ weight).reshape(*x.shape[:-1], weight.shape[1])


def _batch(
    arguments: tuple[Array, Array], axes: tuple[int | None, int | None]
) -> tuple[Array, int]:
    (x, weight), (x_axis, weight_axis) = arguments, axes
    if weight_axis is None:
        assert x_axis is not None  # else there were nothing to batch
        return _product.bind(jnp.moveaxis(x, x_axis, 0), weight), 0
    return jax.vmap(_multiply, axes)(x, weight), 0  # a matrix for each: no rows to join


def _transpose_weight(cotangent: Array, x: Array, weight: Any) -> Array:
    n_in, n_out = weight.aval.shape  # what is transposed has no value
    if sample_devices() > 1:
        rows = list(range(x.ndim - 1))
        return jnp.tensordot(x, cotangent, axes=(rows, rows))
    return x.reshape(-1, n_in).T @ cotangent.reshape(-1, n_out)


_product = Primitive("vector_times_matrix")
_product.def_impl(_multiply)
_product.def_abstract_eval(
    lambda x, weight: x.update(shape=(*x.shape[:-1], weight.shape[1]))
)
mlir.register_lowering(_product, mlir.lower_fun(_multiply, multiple_results=False))
ad.defbilinear(
    _product,
    lambda cotangent, x, weight: _product.bind(cotangent, weight.T),
    _transpose_weight,
)
batching.primitive_batchers[_product] = _batch
