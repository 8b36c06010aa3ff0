"""The types and shapes in signatures, checked at every call by a check made once.

The import hook of jaxtyping decorates a function inside a function anew whenever the
outer one runs, and to make a check takes a thousand times as long as to run it. Here
functions of the same code and annotations share one.
"""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from jaxtyping import jaxtyped

CHECKED: dict[tuple, Callable] = {}  # each calls the function that it is given first


def jaxtyped_once(*, typechecker: Callable) -> Callable:
    """`jaxtyping.jaxtyped`, but for the time that it takes."""

    def decorate(fn: Any) -> Any:
        if not isinstance(fn, FunctionType):
            return jaxtyped(fn, typechecker=typechecker)
        same = fn.__code__, str(fn.__annotations__)
        if same not in CHECKED:
            CHECKED[same] = jaxtyped(_call_like(fn), typechecker=typechecker)
        checked = CHECKED[same]

        @functools.wraps(fn)
        def wrapped(*args, **kwargs):
            return checked(fn, *args, **kwargs)

        return wrapped

    return decorate


def _call(_function, /, *args, **kwargs):
    return _function(*args, **kwargs)


def _call_like(fn: FunctionType) -> Callable:
    """`_call` with the signature, the name and the globals of `fn`."""
    call = functools.wraps(fn)(FunctionType(_call.__code__, fn.__globals__))
    function, *_ = inspect.signature(_call).parameters.values()
    signature = inspect.signature(fn)
    call.__signature__ = signature.replace(
        parameters=[function, *signature.parameters.values()]
    )
    return call
