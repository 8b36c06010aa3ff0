"""Per-example functions over all rows, in batches that fit a memory budget.

A function is compiled once for a size of batch, which is a power of two: other numbers
of rows are padded.
"""

import operator
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, subjaxprs

from vaejax.core import Params, PyTree

BUDGET = 2**29  # bytes of a batch's intermediate arrays
LARGEST = 4096  # rows

# one(static arguments, params, row)
OfOneExample = Callable[[Any, Params, PyTree], PyTree]


def over_rows(one: OfOneExample, static: Any, params: Params, rows: PyTree) -> PyTree:
    """Apply `one(static, params, row)` to every row, and stack what it returns.

    Args:
        one: a function of the module that calls; its results are compiled by identity.
        static: hashable; a change of it compiles anew.
        params: arrays that all rows share.
        rows: every leaf [N, ...].

    Returns:
        What `one` returns, as NumPy arrays [N, ...].
    """
    count = len(jax.tree.leaves(rows)[0])
    row = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), rows
    )
    leaves, treedef = jax.tree.flatten((jax.eval_shape(lambda: params), row))
    made = _bytes_made(one, static, tuple(leaves), treedef)
    most = max(1, BUDGET // max(1, made))
    size = 2 ** int(np.log2(min(most, LARGEST)))
    size = min(size, 2 ** int(np.ceil(np.log2(count))))
    parts = []
    for start in range(0, count, size):
        numbers = np.minimum(np.arange(start, start + size), count - 1)
        chosen = jax.tree.map(operator.itemgetter(numbers), rows)
        found = _mapped(one, static, params, chosen)
        parts.append(jax.tree.map(np.asarray, found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)


@partial(jax.jit, static_argnums=(0, 1))
def _mapped(one: OfOneExample, static: Any, params: Params, rows: PyTree) -> PyTree:
    return jax.vmap(partial(one, static, params))(rows)


@lru_cache(maxsize=100)
def _bytes_made(
    one: OfOneExample,
    static: Any,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    treedef: jax.tree_util.PyTreeDef,
) -> int:
    """The bytes of all arrays that the function makes of a row: an upper limit."""
    params, row = jax.tree.unflatten(treedef, shapes)
    return _sum(jax.make_jaxpr(partial(one, static))(params, row).jaxpr)


def _sum(jaxpr: Jaxpr) -> int:
    made: list[Any] = [v.aval for equation in jaxpr.eqns for v in equation.outvars]
    own = sum(array.size * array.dtype.itemsize for array in made)
    return own + sum(map(_sum, subjaxprs(jaxpr)))
