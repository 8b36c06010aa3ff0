"""Names that distinguish two settings of one method."""

import dataclasses
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from vaejax.core.factories import settings_of

Settings = ParamSpec("Settings")
Record = TypeVar("Record", bound=Any)


def named_by_settings(
    factory: Callable[Settings, Record],
) -> Callable[Settings, Record]:
    """Wrap a factory to append the settings that are no defaults to a record's name.

    `rebar(temperature=0.3)` is named `rebar:temperature=0.3`, and `rebar()` is `rebar`:
    these names distinguish the cells of a comparison, and the command line takes them.
    """
    defaults = {name: taken.default for name, taken in settings_of(factory).items()}

    @wraps(factory)
    def build(*args: Settings.args, **settings: Settings.kwargs) -> Record:
        record = factory(*args, **settings)
        given = dict(zip(defaults, args, strict=False)) | settings
        words = sorted(f"{k}={v}" for k, v in given.items() if v != defaults[k])
        name = ":".join([record.name, *words]).replace(" ", "")
        return dataclasses.replace(record, name=name)

    return build
