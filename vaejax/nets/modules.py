"""Modules of flax and equinox as networks: pure functions over plain dicts.

A network is a function of its parameters and one example: active dropout, which draws
random numbers, and what is kept from call to call, as batch statistics, are refused by
name. A function that makes a module starts every seed from other parameters; a module
that is made starts all seeds from its own.
"""

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors, linen, nnx
from jaxtyping import Array

from vaejax.core import Key, PyTree, VaejaxError
from vaejax.core.doors import expect
from vaejax.core.ranges import cut
from vaejax.nets.network import Network

ONE_EXAMPLE = "and a network is a function of its parameters and one example"
PER_EXAMPLE = "use layer norm or group norm, whose statistics are of one example"


def as_network(role: str, given: Any, x: Array | jax.ShapeDtypeStruct) -> Network:
    """The network that a user gives, in any of the forms that there are.

    Args:
        role: its name in messages.
        given: a `Network`, or a pair (init, apply); a flax NNX module, or a function of
            `rngs` that makes one; a flax linen module; an equinox module.
        x: an input of the network, or its shape and dtype.

    Raises:
        VaejaxError: anything else, or what the adapter of the library refuses.
    """
    if isinstance(given, Network):
        return given
    if isinstance(given, tuple) and len(given) == 2 and all(map(callable, given)):
        return Network(init=given[0], apply=given[1])
    if isinstance(given, linen.Module):
        return from_linen(given, x)
    if _is_equinox(given):
        return from_equinox(given)
    if callable(given) or isinstance(given, nnx.Module):
        return from_nnx(given)
    return expect(Network, role, given)


def from_nnx(build: nnx.Module | Callable[..., nnx.Module]) -> Network:
    """A flax NNX module as a `Network` over a plain dict of arrays.

    Args:
        build: a function of `rngs` that makes the module; or a module, whose parameters
            every `init` then returns, whatever the key. Plain arrays in the module are
            constants.

    Raises:
        VaejaxError: a function that makes no NNX module of `rngs` alone; a module with
            active dropout, batch statistics, or variables that are no `nnx.Param`.
    """
    made = build if isinstance(build, nnx.Module) else _template(build)
    graph = nnx.graphdef(made)
    params, others = nnx.state(made, nnx.Param, ...)
    _refuse_in_nnx(made, others)

    def init(key: Key) -> PyTree:
        if made is build:
            return jax.tree.map(jnp.array, nnx.to_pure_dict(params))
        return nnx.to_pure_dict(nnx.state(_built(build, key), nnx.Param))

    def apply(params: PyTree, x: Array) -> Array:
        state = nnx.State(jax.tree.map(nnx.Param, params))
        return nnx.merge(graph, state, others)(x)

    return Network(init=init, apply=apply)


def from_linen(module: linen.Module, x: Array | jax.ShapeDtypeStruct) -> Network:
    """A flax linen module as a `Network`: its `init(key, x)` and `apply`.

    Args:
        module: a module whose `__call__` takes one example.
        x: an input, or its shape and dtype.

    Raises:
        VaejaxError: a module that fails at such an input; active dropout; collections
            besides the parameters, such as batch statistics.
    """
    name = type(module).__name__
    zeros = jnp.zeros(x.shape, x.dtype)

    def init(key: Key) -> PyTree:
        return module.init(key, zeros).get("params", {})

    def apply(params: PyTree, x: Array) -> Any:
        return module.apply({"params": params}, x)

    try:
        made = jax.eval_shape(module.init, jax.random.key(0), zeros)
        if kept := made.keys() - {"params"}:
            raise _stateful(name, ", ".join(sorted(kept)), PER_EXAMPLE)
        jax.eval_shape(apply, made.get("params", {}), zeros)
    except errors.InvalidRngError as error:
        layer = str(error).partition(" (")[0]  # before a link
        remedy = f"set deterministic=True of its dropout ({layer})"
        raise _random(name, remedy) from error
    except (TypeError, ValueError, errors.FlaxError) as error:
        raise fails_at(f"module {name}", zeros, error) from error
    return Network(init=init, apply=apply)


def from_equinox(build: Any) -> Network:
    """An equinox module as a `Network` over a dict of its arrays of floats, by path.

    Args:
        build: a function of a key that makes the module; or a module, whose arrays
            every `init` then returns, whatever the key.

    Raises:
        VaejaxError: a function that makes no equinox module; active dropout; layers
            with a state, such as batch norm.
    """
    made = build if _is_equinox(build) else build(jax.random.key(0))
    if not _is_equinox(made):
        raise _not_made(build, "an equinox module", "a key")
    _refuse_in_equinox(made)
    leaves, structure = jax.tree_util.tree_flatten_with_path(made)
    paths = [jax.tree_util.keystr(at, simple=True, separator=".") for at, _ in leaves]

    def init(key: Key) -> PyTree:
        own = jax.tree.leaves(made if made is build else build(key))
        by_path = zip(paths, own, strict=True)
        return {path: jnp.array(leaf) for path, leaf in by_path if _is_float(leaf)}

    def apply(params: PyTree, x: Array) -> Array:
        filled = [
            params.get(path, leaf)
            for path, (_, leaf) in zip(paths, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, filled)(x)

    return Network(init=init, apply=apply)


def fails_at(what: str, x: PyTree, error: Exception) -> VaejaxError:
    """The error for a network that fails at an input."""
    shapes = " and ".join(str(leaf.shape) for leaf in jax.tree.leaves(x))
    return VaejaxError(
        f"the {what} fails at an input of shape {shapes}: give a network that takes "
        f"this shape ({type(error).__name__}: {cut(str(error))})"
    )


def _built(build: Callable[..., Any], seed: Key | int) -> Any:
    """What a function makes of `rngs`, its keyword or its only argument."""
    rngs = nnx.Rngs(seed)
    by_name = "rngs" in inspect.signature(build).parameters
    return build(rngs=rngs) if by_name else build(rngs)


def _template(build: Callable[..., Any]) -> nnx.Module:
    """The module that a function makes, with shapes in the place of its parameters."""
    make = partial(_built, build, 0)
    try:
        made = nnx.eval_shape(make)
    except (TypeError, VaejaxError) as error:
        raise VaejaxError(
            f"{_name(build)} makes no module of rngs alone ({cut(str(error))}): give a "
            "function that does, as lambda rngs: MyModule(..., rngs=rngs)"
        ) from error
    if not isinstance(made, nnx.Module):
        raise _not_made(build, "a flax NNX module", "rngs")
    # Plain arrays are no part of the shapes, and leave `eval_shape` as tracers.
    leaks = any(isinstance(leaf, jax.core.Tracer) for _, leaf in nnx.iter_graph(made))
    return make() if leaks else made


def _refuse_in_nnx(made: nnx.Module, others: Any) -> None:
    modules = dict(nnx.iter_modules(made))
    idle = []  # modules that hold random streams, and never draw from them
    for path, module in modules.items():
        if hasattr(module, "deterministic"):
            rate = getattr(module, "rate", getattr(module, "dropout_rate", 0))
            if rate and not module.deterministic:
                remedy = "set its deterministic=True, as .eval() of the module does"
                raise _random(_place(module, path), remedy)
            idle.append(path)
    for path, variable in nnx.to_flat_state(others):
        above = (path[:end] for end in reversed(range(len(path))))
        owner = next(place for place in above if place in modules)
        where = _place(modules[owner], owner)
        if isinstance(variable, nnx.RngState):
            if owner not in idle:
                raise _random(where, "make it of the parameters and the input alone")
        elif isinstance(variable, nnx.Variable):
            own = "make it an nnx.Param, or a plain array if it is constant"
            remedy = PER_EXAMPLE if isinstance(variable, nnx.BatchStat) else own
            what = f"the {type(variable).__name__} {path[-1]}"
            raise _stateful(where, what, remedy)


def _refuse_in_equinox(made: Any) -> None:
    layers = sys.modules["equinox"].nn
    special = layers.Dropout, layers.BatchNorm, layers.SpectralNorm, layers.StateIndex

    def is_special(node: Any) -> bool:
        return isinstance(node, special)

    for path, node in jax.tree_util.tree_leaves_with_path(made, is_leaf=is_special):
        where = _place(node, jax.tree_util.keystr(path, simple=True, separator="."))
        if isinstance(node, layers.Dropout):
            if node.p and not node.inference:
                raise _random(where, "turn it off by equinox.nn.inference_mode")
        elif is_special(node):
            raise _stateful(where, "a state", PER_EXAMPLE)


def _place(module: Any, path: Any) -> str:
    at = path if isinstance(path, str) else ".".join(map(str, path))
    return type(module).__name__ + f" at {at}" * bool(at)


def _random(where: str, remedy: str) -> VaejaxError:
    return VaejaxError(
        f"{where} draws random numbers, {ONE_EXAMPLE}: {remedy}, or leave it out"
    )


def _stateful(where: str, what: str, remedy: str) -> VaejaxError:
    return VaejaxError(
        f"{where} keeps {what} besides its parameters, {ONE_EXAMPLE}: {remedy}"
    )


def _not_made(build: Any, expected: str, given: str) -> VaejaxError:
    return VaejaxError(
        f"what {_name(build)} makes of {given} is not {expected}: give a function that "
        "makes one, or a network that is made"
    )


def _name(build: Any) -> str:
    return getattr(build, "__name__", type(build).__name__)


def _is_equinox(given: Any) -> bool:
    """True for an equinox module: whoever has one has imported its library."""
    library = sys.modules.get("equinox")
    return library is not None and isinstance(given, library.Module)


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)
