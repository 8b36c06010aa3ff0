"""The allowed values of a setting, read from the setting's annotation.

    latent_dim: int                                        1 to 1,000,000
    scale: float                                           finite in float32
    blocks: Annotated[int, Range(0, 10)]                   0 to 10
    hidden: Sequence[int]                                  at most 30 integers
    sizes: tuple[int, ...]                                 at most 100 integers

One function reads the annotations of factories and of experiments, so that no number
is without a limit: sizes of 2^63 end in an abort of XLA, which Python cannot catch.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Annotated, Any, Literal


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`; `above` excludes `least` itself."""

    least: int | float
    most: int | float
    above: bool = False

    def __contains__(self, number: Any) -> bool:
        """True if the number lies in the range; NaN lies in no range."""
        reached = self.least < number if self.above else self.least <= number
        return bool(reached and number <= self.most)

    def __str__(self) -> str:
        """The range in words."""
        if self.above:
            return f"above {self.least:,}, at most {self.most:,}"
        return f"from {self.least:,} to {self.most:,}"


# The range of a setting annotated with a bare `int` or `float`.
BARE = {int: Range(1, 1_000_000), float: Range(-1e30, 1e30)}
LONGEST = 100  # the most entries of a tuple
# The most layers of a network, each of which takes a tenth of a second to build; a
# factory's sequence has an entry for each layer.
DEEPEST = 30

CountOrZero = Annotated[int, Range(0, 1_000_000)]
Depth = Annotated[int, Range(1, 100)]  # number of steps of a flow, traced one by one
Layers = Annotated[int, Range(1, DEEPEST)]
PerStage = Annotated[int, Range(1, 10)]  # layers, in every stage of a network
PerStageOrZero = Annotated[int, Range(0, 10)]
Levels = Annotated[int, Range(2, 2**16)]  # of grey
# The numbers for each pixel, or classes, of which arrays are made before any check of
# memory.
Components = Annotated[int, Range(1, 100)]
Classes = Annotated[int, Range(1, 10_000)]
MostOutcomes = Annotated[int, Range(1, 2**24)]  # that are listed, for any memory
Steps = Annotated[int, Range(1, 2**31 - 1)]  # the limit of an int32
Size = Annotated[int, Range(1, 2**31 - 1)]  # numbers that a network takes or returns
# The range limits the product of the sizes: XLA cannot hold 2^63 numbers.
Shape = Annotated[tuple[int, ...], Range(1, 2**31 - 1)]
StepsOrZero = Annotated[int, Range(0, 2**31 - 1)]


def mismatch(annotation: Any, value: Any) -> str | None:
    """Describe the values that an annotation allows, or return None if `value` is one.

    Numbers, words, sequences of numbers and settings by name are checked; values with
    any other annotation pass.
    """
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        limits = [note for note in args[1:] if isinstance(note, Range)]
        if limits and args[0] in BARE:
            return _number(args[0], limits[0], value)
        expected = mismatch(args[0], value)
        if expected is None and limits and math.prod(value) not in limits[0]:
            return f"numbers whose product is {limits[0]}"
        return expected
    if annotation in BARE:
        return _number(annotation, BARE[annotation], value)
    if origin in (types.UnionType, typing.Union):
        found = [mismatch(choice, value) for choice in args]
        return None if None in found else found[0]
    if origin in (tuple, Sequence):
        return _entries(args, value, DEEPEST if origin is Sequence else LONGEST)
    if origin is Literal:
        return None if value in args else f"one of {', '.join(map(str, args))}"
    if origin is Mapping:
        named = isinstance(value, Mapping) and all(isinstance(k, str) for k in value)
        return None if named else "settings by name, as in prior.num_components=10"
    if annotation is str and isinstance(name := getattr(value, "name", None), str):
        return f"a name, as in {name!r}"  # a record in the place of its name
    if annotation in (str, bool, types.NoneType):
        return None if isinstance(value, annotation) else _WORDS[annotation]
    return None


_WORDS = {str: "a word", bool: "true or false", types.NoneType: "left out"}


def _number(kind: type, limits: Range, value: Any) -> str | None:
    fits = isinstance(value, Integral if kind is int else Real)
    if fits and not isinstance(value, bool) and value in limits:
        return None
    return f"{'an integer' if kind is int else 'a number'} {limits}"


def _entries(args: tuple[Any, ...], value: Any, most: int) -> str | None:
    """Return `mismatch` of a sequence whose entries all have the first annotation."""
    if (entry := mismatch(args[0], object())) is None:
        return None
    fixed = len(args) if len(args) > 1 and args[-1] is not ... else None
    if (
        isinstance(value, tuple | list)
        and not any(mismatch(args[0], one) for one in value)
        and (len(value) <= most if fixed is None else len(value) == fixed)
    ):
        return None
    if fixed is None and not isinstance(value, tuple | list):
        single = 64 if mismatch(args[0], value) else value
        return f"a sequence, as in ({single!r},)"
    count = f"at most {most}" if fixed is None else str(fixed)
    return f"{count} values, each {entry}"


def shown(value: Any) -> str:
    """The text of a value for an error message, cut to about 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "an integer of thousands of digits"
    return cut(text.replace("\n", " "))


def cut(text: str) -> str:
    """The text on one line, cut to about 60 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:60]}..."
