"""Type checks of the arguments of public functions; an error is one sentence."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import jax

from vaejax.core.errors import VaejaxError
from vaejax.core.ranges import Range, mismatch, shown
from vaejax.core.values import Batch, Example, Key, Params

T = TypeVar("T")


def expect(kind: type[T], name: str, value: Any) -> T:
    """Return the value if it is a record of this kind.

    Raises:
        VaejaxError: a registered name, a factory that was not called, or another type.
    """
    if isinstance(value, kind):
        return value
    a = f"{name} must be {_with_article(kind)}"
    if isinstance(value, str):
        raise VaejaxError(
            f"{a}, and is the name {value!r}: build it, as in "
            f"vaejax.build(vaejax.{kind.__name__.upper()}S, {value!r})"
        )
    if callable(value) and hasattr(value, "__name__"):
        called = value.__name__
        raise VaejaxError(
            f"{a}, and is the function {called}: call it, as in {called}()"
        )
    raise VaejaxError(f"{a}, and is {_with_article(type(value))}")


def expect_all(kind: type[T], name: str, values: Any) -> list[T]:
    """Return the values if there is at least one and each is of this kind.

    Raises:
        VaejaxError: one of another kind, none, or no sequence.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        expect(kind, f"{name}[0]", values)  # raises for a name or a function
        values = [values]
    if not values:
        raise VaejaxError(f"{name} is empty: give one {kind.__name__} or more")
    return [expect(kind, f"{name}[{i}]", value) for i, value in enumerate(values)]


def expect_params(params: Any) -> Params:
    """Return the value if it is parameters; a training state is refused.

    Raises:
        VaejaxError: a training state, or another type.
    """
    if hasattr(params, "params") and hasattr(params, "opt_state"):
        raise VaejaxError(
            "params must be a Params, and is the state of a training: give the "
            "params of that state"
        )
    return expect(Params, "params", params)


def expect_key(key: Any) -> Key:
    """Return the value if it is a random key.

    Raises:
        VaejaxError: an integer, or another type.
    """
    if isinstance(key, int):
        raise VaejaxError(
            f"key is the integer {key}: give a key, as in jax.random.key({key})"
        )
    if not isinstance(key, jax.Array):
        raise VaejaxError(
            f"key is {_with_article(type(key))}: give a key, as in jax.random.key(0)"
        )
    return key


def expect_counts(least: int = 1, /, **counts: Any) -> None:
    """Refuse a named count that is no integer from `least` to 2^31 - 1, but not None.

    Raises:
        VaejaxError: naming the count, its value and its range.
    """
    allowed = Annotated[int, Range(least, 2**31 - 1)]
    for name, given in counts.items():
        if given is not None and (expected := mismatch(allowed, given)):
            raise VaejaxError(f"{name} is {shown(given)}: give {expected}")


def expect_example(name: str, examples: Any) -> Example:
    """Return an `Example`, or the example of a `Batch`.

    Raises:
        VaejaxError: a bare array, or another type.
    """
    if isinstance(examples, Batch):
        return examples.example
    if isinstance(examples, Example):
        return examples
    if hasattr(examples, "shape"):
        raise VaejaxError(
            f"{name} is an array of shape {tuple(examples.shape)}: wrap it, as in "
            f"vaejax.Example({name})"
        )
    raise VaejaxError(
        f"{name} is {_with_article(type(examples))}: give a vaejax.Example, its leaves "
        "of shape [N, ...]"
    )


def _with_article(kind: type) -> str:
    name = kind.__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
