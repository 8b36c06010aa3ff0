"""The values that a setting may have, read from its annotation.

    latent_dim: int                                        1 to 1,000,000
    scale: float                                           finite in float32
    blocks: Annotated[int, Range(0, 100)]                  0 to 100
    hidden: Sequence[int]                                  100 of them at most

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
    """Numbers from `least` to `most`; without `least` itself if `above`."""

    least: int | float
    most: int | float
    above: bool = False

    def __contains__(self, number: Any) -> bool:
        """Whether the number lies in the range; NaN lies in none."""
        reached = self.least < number if self.above else self.least <= number
        return bool(reached and number <= self.most)

    def __str__(self) -> str:
        """The range in words."""
        if self.above:
            return f"above {self.least:,}, at most {self.most:,}"
        return f"from {self.least:,} to {self.most:,}"


# What a bare `int` or `float` means.
BARE = {int: Range(1, 1_000_000), float: Range(-1e30, 1e30)}
LONGEST = 100  # entries of a sequence of numbers

CountOrZero = Annotated[int, Range(0, 1_000_000)]
Depth = Annotated[int, Range(1, 100)]  # of what is traced layer by layer
DepthOrZero = Annotated[int, Range(0, 100)]
Steps = Annotated[int, Range(1, 2**31 - 1)]  # as an int32 counts them
# The range is of the product: an array of 2^63 numbers is beyond XLA.
Shape = Annotated[tuple[int, ...], Range(1, 2**31 - 1)]
StepsOrZero = Annotated[int, Range(0, 2**31 - 1)]


def mismatch(annotation: Any, value: Any) -> str | None:
    """The words for what a value must be, or None if it is that.

    Numbers, words, sequences of numbers and settings by name are checked; what has any
    other annotation passes.
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
        return _entries(args, value)
    if origin is Literal:
        return None if value in args else f"one of {', '.join(map(str, args))}"
    if origin is Mapping:
        named = isinstance(value, Mapping) and all(isinstance(k, str) for k in value)
        return None if named else "settings by name, as in prior.num_components=10"
    if annotation in (str, bool, types.NoneType):
        return None if isinstance(value, annotation) else _WORDS[annotation]
    return None


_WORDS = {str: "a word", bool: "true or false", types.NoneType: "left out"}


def _number(kind: type, limits: Range, value: Any) -> str | None:
    fits = isinstance(value, Integral if kind is int else Real)
    if fits and not isinstance(value, bool) and value in limits:
        return None
    return f"{'an integer' if kind is int else 'a number'} {limits}"


def _entries(args: tuple[Any, ...], value: Any) -> str | None:
    """As `mismatch`, for a sequence whose entries all have the first annotation."""
    if (entry := mismatch(args[0], object())) is None:
        return None
    fixed = len(args) if len(args) > 1 and args[-1] is not ... else None
    if (
        isinstance(value, tuple | list)
        and not any(mismatch(args[0], one) for one in value)
        and (len(value) <= LONGEST if fixed is None else len(value) == fixed)
    ):
        return None
    count = f"at most {LONGEST}" if fixed is None else str(fixed)
    return f"{count} values, each {entry}"


def shown(value: Any) -> str:
    """The value in an error's sentence: short, whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "an integer of thousands of digits"
    return text if len(text) <= 80 else f"{text[:60]}..."
