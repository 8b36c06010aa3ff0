"""A vector-matrix product that stays one matrix product under any number of `vmap`s.

Per-example code under `vmap` over examples and over importance samples turns `x @ W`
into a product with two batch axes. Its derivative with respect to W contracts both, for
which XLA's CPU backend first transposes the cotangent in memory. This primitive puts
batch axes first and multiplies [rows, in] by [in, out], so that per-example code costs
what a hand-flattened batch costs.
"""

import contextlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from vaejax.core import VaejaxError, unknown
from vaejax.sharding import sample_devices

PRECISIONS = ("default", "float32", "tensorfloat32", "bfloat16")


def matmul_precision(name: str) -> contextlib.AbstractContextManager[Any]:
    """A context in which matrix products round their operands; the rest is float32.

    "default" leaves it to JAX: float32 on a CPU, TensorFloat-32 on the GPUs that have
    it. "bfloat16" rounds the operands of `vector_times_matrix`, also those of its
    derivatives, to 8 bits and accumulates in float32, on every platform; other products
    and convolutions follow `jax.default_matmul_precision`, which on a CPU is float32.
    Under `jax_enable_x64` everything not rounded here is float64.

    Raises:
        VaejaxError: an unknown name, or a format that this machine does not have.
    """
    if name not in PRECISIONS:
        raise unknown("matmul_precision", name, PRECISIONS)
    if name == "tensorfloat32" and jax.default_backend() == "cpu":
        raise VaejaxError(
            "tensorfloat32 is a number format of GPUs, and this is a CPU, which would "
            "compute in float32: use bfloat16, or leave matmul_precision out"
        )
    if name == "default":
        return contextlib.nullcontext()
    return jax.default_matmul_precision(name)


def vector_times_matrix(
    x: Float[Array, " in"], weight: Float[Array, "in out"]
) -> Float[Array, " out"]:
    """`x @ weight`; under any number of `vmap`s over x, one matrix product."""
    settings: Any = jax.config
    x, weight = of_one_dtype(x, weight)
    return _product.bind(x, weight, precision=settings.jax_default_matmul_precision)


def of_one_dtype(a: Array, b: Array) -> tuple[Array, Array]:
    """Cast both to the more precise of their dtypes, as linear primitives require."""
    dtype = jnp.result_type(a, b)
    return a.astype(dtype), b.astype(dtype)


def _dot(a: Array, b: Array, precision: str | None) -> Array:
    if precision != "bfloat16":
        return jnp.matmul(a, b, precision=precision)
    # Rounded by hand: a precision is a hint to XLA, ignored on a CPU, TF32 on a GPU.
    rounded = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    product = jnp.matmul(*rounded, preferred_element_type=jnp.float32)
    return product.astype(a.dtype)


def _multiply(x: Array, weight: Array, *, precision: str | None) -> Array:
    if sample_devices() > 1:  # rows [B * K] would keep the division of B alone
        return _dot(x, weight, precision)
    rows = x.reshape(-1, weight.shape[0])
    product = _dot(rows, weight, precision)
    return product.reshape(*x.shape[:-1], weight.shape[1])


def _batch(
    arguments: tuple[Array, Array],
    axes: tuple[int | None, int | None],
    *,
    precision: str | None,
) -> tuple[Array, int]:
    (x, weight), (x_axis, weight_axis) = arguments, axes
    if weight_axis is None:
        assert x_axis is not None  # one of the two has a batch axis
        return _product.bind(jnp.moveaxis(x, x_axis, 0), weight, precision=precision), 0
    # One matrix per example: there are no rows to join.
    return jax.vmap(partial(_multiply, precision=precision), axes)(x, weight), 0


def _transpose_x(
    cotangent: Array, x: Any, weight: Array, *, precision: str | None
) -> Array:
    return _product.bind(cotangent, weight.T, precision=precision)


def _transpose_weight(
    cotangent: Array, x: Array, weight: Any, *, precision: str | None
) -> Array:
    n_in, n_out = weight.aval.shape  # the transposed argument has no value
    if sample_devices() > 1:
        rows = tuple(range(x.ndim - 1))
        return jnp.tensordot(x, cotangent, axes=(rows, rows))
    return _dot(x.reshape(-1, n_in).T, cotangent.reshape(-1, n_out), precision)


_product = Primitive("vector_times_matrix")
_product.def_impl(_multiply)
_product.def_abstract_eval(
    lambda x, weight, **_: x.update(shape=(*x.shape[:-1], weight.shape[1]))
)
mlir.register_lowering(_product, mlir.lower_fun(_multiply, multiple_results=False))
ad.defbilinear(_product, _transpose_x, _transpose_weight)
batching.primitive_batchers[_product] = _batch
