"""Names that tell two settings of one method apart."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Settings = ParamSpec("Settings")
Record = TypeVar("Record", bound=Any)


def named_by_settings(
    factory: Callable[Settings, Record],
) -> Callable[Settings, Record]:
    """The factory, whose records are named by their settings that are no defaults.

    `rebar(temperature=0.3)` is named `rebar:temperature=0.3`, and `rebar()` is `rebar`:
    a comparison tells its cells apart by these names, and the command line takes them.
    """
    signature = inspect.signature(factory)
    defaults = {name: p.default for name, p in signature.parameters.items()}

    @wraps(factory)
    def build(*args: Settings.args, **settings: Settings.kwargs) -> Record:
        record = factory(*args, **settings)
        given = signature.bind(*args, **settings).arguments
        words = sorted(f"{k}={v}" for k, v in given.items() if v != defaults[k])
        name = ":".join([record.name, *words]).replace(" ", "")
        return dataclasses.replace(record, name=name)

    return build
