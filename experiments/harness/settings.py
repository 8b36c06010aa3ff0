"""The base of every experiment's settings: annotations that are checked.

A field's annotation says which values it takes (see `vaejax.core.ranges`); a bare `int`
is a count from 1 to 1,000,000. Every configuration that exists is valid, whether it
comes from a command line, a notebook, a sweep or a file.
"""

import typing
from functools import cache
from typing import Annotated, Any

from vaejax.core import VaejaxError
from vaejax.core.ranges import Range, mismatch, shown

Seed = Annotated[int, Range(0, 2**32 - 1)]  # random keys would drop further bits
Large = Annotated[int, Range(1, 10_000_000)]  # draws, and samples of a log-likelihood
Pixels = Annotated[int, Range(1, 10_000)]  # of the side of an image
Seconds = Annotated[float, Range(0, 1e9, above=True)]
Rate = Annotated[float, Range(0, 1e30, above=True)]  # finite in float32
Share = Annotated[float, Range(0, 1, above=True)]
Decay = Annotated[float, Range(0, 0.9999999, above=True)]  # of a moving average
Error = Annotated[float, Range(0, 1e6, above=True)]  # relative


class Settings:
    """The base of an experiment's `Config`, a frozen dataclass."""

    def __post_init__(self) -> None:
        """Raise a `VaejaxError` for a value that the field's annotation excludes."""
        own: Any = type(self)
        for name, annotation in _annotations(own).items():
            value = getattr(self, name)
            if expected := mismatch(annotation, value):
                absent = getattr(own, name, ...) is None
                raise VaejaxError(
                    f"--{name.replace('_', '-')} is {shown(value)}: use {expected}"
                    + ", or leave it out" * absent
                )


@cache
def _annotations(config_class: type) -> dict[str, Any]:
    return typing.get_type_hints(config_class, include_extras=True)
