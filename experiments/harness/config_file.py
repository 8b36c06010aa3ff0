"""Settings in a file: a run's config.json, or a TOML file that `--config` takes."""

import dataclasses
import inspect
import os
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, Literal

from experiments.harness.json_files import DamagedFileError, check_sizes, parse_object
from vaejax.core import VaejaxError, unknown
from vaejax.core.errors import nearest
from vaejax.core.ranges import shown
from vaejax.data.files import read_small

LARGEST = 2**20  # bytes of a file of settings
X64 = "jax_enable_x64"  # in config.json: true if all numbers are float64
RESULT = "result"  # in a TOML file: the outcome of these settings


def read_settings(config_class: type, path: Path) -> dict[str, Any]:
    """The settings of a file, or of a run's folder, each of the type of its field.

    Raises:
        VaejaxError: a file that cannot be read, or a name or value that cannot be.
    """
    if os.path.isdir(path):
        path /= "config.json"
    is_toml = path.suffix == ".toml"
    try:
        parse = _parse_toml if is_toml else parse_object
        settings = parse(read_small(path, LARGEST))
    except OSError as error:
        raise VaejaxError(
            f"cannot read {path} ({error.strerror}): {_near(path)}name a .toml file or "
            "a config.json"
        ) from error
    except ValueError as error:
        raise VaejaxError(
            f"{path} is not a {'TOML' if is_toml else 'JSON'} file ({error}): correct "
            "its text"
        ) from error
    fields = [field.name for field in dataclasses.fields(config_class)]
    own = {n: value for n, value in settings.items() if n not in (X64, RESULT)}
    for name in own:
        if name not in fields:
            raise VaejaxError(f"{path}: {unknown('setting', name, fields)}")
    return typed_settings(config_class, own, path)


def _near(path: Path) -> str:
    """The files of settings whose names are similar, as a question."""
    files = [path.name for path in path.parent.glob("*.toml")]
    found = [str(path.with_name(name)) for name in nearest(path.name, files)]
    return f"did you mean {' or '.join(found)}? " if found else ""


def _parse_toml(data: bytes) -> dict[str, Any]:
    """Read TOML in UTF-8, no deeper and with no larger integers than JSON.

    Raises:
        ValueError: with the reason, if `data` is anything else.
    """
    try:
        found = tomllib.loads(data.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_sizes(found, finite=False)  # `Config` refuses them by name
    return found


def typed_settings(
    config_class: type, settings: dict[str, Any], path: Path
) -> dict[str, Any]:
    """The settings of a file as values for the fields of a `Config`.

    Args:
        config_class: a dataclass that has a field for each of them, but `X64`.
        settings: what the file holds.
        path: the file, to be named.

    Raises:
        DamagedFileError: a value that is not of its field's type.
    """
    annotations = typing.get_type_hints(config_class) | {X64: bool}
    values = {}
    for name, value in settings.items():
        try:
            values[name] = _from_json(value, annotations[name])
        except (TypeError, ValueError) as error:
            expected = inspect.formatannotation(annotations[name])
            raise DamagedFileError(
                f"{path} is damaged ({name} is {shown(value)}, expected "
                f"{expected}): correct it, or restore it from a copy"
            ) from error
    return values


def _from_json(value: Any, annotation: Any) -> Any:
    """The JSON value as a value of the annotated type.

    Raises:
        TypeError: it is of none.
        ValueError: it is a path that cannot be.
    """
    one_of = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    for kind in typing.get_args(annotation) if one_of else (annotation,):
        if type(value) is kind:
            return value
        if typing.get_origin(kind) is Literal and value in typing.get_args(kind):
            return value
        if kind is float and type(value) is int:
            return float(value)
        if kind is Path and isinstance(value, str) and b"\0" not in os.fsencode(value):
            return Path(value)
        if typing.get_origin(kind) is tuple and isinstance(value, list):
            return tuple(_from_json(each, typing.get_args(kind)[0]) for each in value)
    raise TypeError
