"""A run's settings as config.json holds them, each of the type that its field says."""

import inspect
import json
import os
import types
import typing
from pathlib import Path
from typing import Any

from experiments.harness.json_files import DamagedFileError


def typed_settings(
    config_class: type, settings: dict[str, Any], path: Path
) -> dict[str, Any]:
    """The settings of a JSON file as values for the fields of a `Config`.

    Args:
        config_class: a dataclass that has a field for each of them.
        settings: what the file holds.
        path: the file, to be named.

    Raises:
        DamagedFileError: a value that is not of its field's type.
    """
    annotations = typing.get_type_hints(config_class)
    values = {}
    for name, value in settings.items():
        try:
            values[name] = _from_json(value, annotations[name])
        except (TypeError, ValueError) as error:
            expected = inspect.formatannotation(annotations[name])
            raise DamagedFileError(
                f"{path} is damaged ({name} is {json.dumps(value)[:60]}, expected "
                f"{expected}): restore it from a copy"
            ) from error
    return values


def _from_json(value: Any, annotation: Any) -> Any:
    """The value of a field of this type.

    Raises:
        TypeError: it is of none.
        ValueError: it is a path that cannot be.
    """
    one_of = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    for kind in typing.get_args(annotation) if one_of else (annotation,):
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        if kind is Path and isinstance(value, str) and b"\0" not in os.fsencode(value):
            return Path(value)
        if typing.get_origin(kind) is tuple and isinstance(value, list):
            return tuple(_from_json(each, typing.get_args(kind)[0]) for each in value)
    raise TypeError
