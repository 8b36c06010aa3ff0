"""Records built by a registry's factory from its name and settings.

    build(MODELS, "gaussian_mlp", latent_dim=20)
    build(MODELS, "gaussian_mlp", ["latent_dim=20", "prior.num_components=10"])

Settings are values, or words as a command line has them. A word becomes a value of the
type in the factory's annotation; a setting that the factory passes on to another
factory, as `prior_settings`, is read by the annotations of the other factory.
"""

import ast
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from vaejax.core.errors import UnknownNameError, VaejaxError, one_of, unknown
from vaejax.core.ranges import BARE, cut, mismatch, shown

T = TypeVar("T")
Settings = ParamSpec("Settings")
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Word(str):
    """The text of a setting, to be read once the type of the setting is known."""


def build(
    registry: Mapping[str, Callable[..., T]],
    name: str,
    words: Sequence[str] = (),
    follows: Mapping[str, Any] = NOTHING,
    /,
    **settings: Any,
) -> T:
    """Build `registry[name]` with these settings.

    Args:
        registry: factories by name.
        name: one of these.
        words: settings as text, `name=value`.
        follows: what follows from the data set or the model around it, and is not to
            be set; the factory is given what it takes of these.
        settings: settings as values, none of which may be among the words.

    Raises:
        UnknownNameError: listing the known names, or the settings the factory takes.
        VaejaxError: a name that is no word; a value that the setting's annotation does
            not allow; a setting that is given twice, or that follows.
    """
    if not isinstance(name, str):
        known = ", ".join(sorted(registry))
        raise VaejaxError(f"name is {shown(name)}: give a word, one of {known}")
    if name not in registry:
        raise unknown("name", name, registry)
    factory = registry[name]
    taken = settings_of(factory)
    known = {key: value for key, value in follows.items() if key in taken}
    written = parse_words(words)
    own = written | settings
    if twice := sorted(known.keys() & own.keys() | written.keys() & settings.keys()):
        raise VaejaxError(
            f"{', '.join(twice)} of {name} follow from the data set or the model: "
            "leave them out"
        )
    if others := sorted(own.keys() - taken.keys()):
        first, *_ = others
        advice = one_of(first, taken) if taken else "it takes none"
        raise UnknownNameError(f"{name!r} has no setting {shown(first)}: {advice}")
    return factory(**known, **typed(name, factory, own))


def checked(factory: Callable[Settings, T]) -> Callable[Settings, T]:
    """Wrap a factory to refuse, when called directly, the settings `build` refuses."""
    taken = settings_of(factory)

    @wraps(factory)
    def call(*args: Settings.args, **settings: Settings.kwargs) -> T:
        given = dict(zip(taken, args, strict=False)) | settings
        known = {name: value for name, value in given.items() if name in taken}
        typed(factory.__name__, factory, known)
        return factory(*args, **settings)

    return call


def check_calls(module: dict[str, Any], registry: dict[str, Callable[..., T]]) -> None:
    """Make the factories in a registry and in its module's globals `checked`."""
    registry.update({name: checked(factory) for name, factory in registry.items()})
    module.update(registry)


def settings_of(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The settings that a factory takes, with annotation and default."""
    return inspect.signature(factory).parameters


def typed(
    name: str, factory: Callable[..., Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings with every `Word` read as a value of the type the factory takes.

    Raises:
        VaejaxError: naming the setting, what it takes and what was given.
    """
    taken = settings_of(factory)
    return {
        key: read(name, key, value, taken[key].annotation)
        for key, value in settings.items()
    }


def read(name: str, key: str, given: Any, annotation: Any) -> Any:
    """The value of the setting `key` of `name`, read from its `Word` if it is one.

    Raises:
        VaejaxError: naming the setting, what it takes and what was given.
    """
    value, expected = given, mismatch(annotation, given)
    if isinstance(given, Word):
        text, given = given, _literal(given)
        value = _converted(given, annotation)
        expected = mismatch(annotation, value)
        if mismatch(annotation, object()) is None:
            expected = "left out: it is no word or number"
        elif expected and re.search(r",$|[\s,][\w.]+=", text):
            expected += " (separate settings by spaces)"
    if expected:
        raise VaejaxError(f"{name}'s setting {key}={shown(given)} must be {expected}")
    return value


def parse_words(words: Sequence[str]) -> dict[str, Any]:
    """Split `latent_dim=20 hidden=300,300 likelihood=fixed_normal` into `Word`s.

    `prior.num_components=10` is an entry of the setting `prior_settings`.

    Raises:
        VaejaxError: a word that has no `=`, or a name that comes twice.
    """
    settings: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise VaejaxError(
                f"{shown(word)} is not a setting: write name=value, as in latent_dim=20"
            )
        part, dot, own_name = name.partition(".")
        group = settings.setdefault(f"{part}_settings", {}) if dot else settings
        if not isinstance(group, dict) or (own_name or name) in group:
            raise VaejaxError(f"the setting {cut(name)} is given twice: leave one out")
        group[own_name or name] = Word(text)
    return settings


def _literal(text: str) -> Any:
    """The value of a text that is a Python literal, or the text itself."""
    try:
        value = ast.literal_eval(text)
        repr(value)  # raises ValueError if an integer is too long to be shown
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return str(text)  # a word, such as the name of a likelihood
    return value


def _converted(given: Any, annotation: Any) -> Any:
    """The literal, converted to the annotated type where a conversion is known."""
    if typing.get_origin(annotation) is Annotated:
        return _converted(given, typing.get_args(annotation)[0])
    origin = typing.get_origin(annotation)
    if annotation is float and type(given) is int and given in BARE[float]:
        return float(given)
    if annotation is bool:
        return {"true": True, "false": False}.get(str(given).lower(), given)
    if annotation is str:
        return str(given)
    if origin is Literal:
        choices = {str(choice): choice for choice in typing.get_args(annotation)}
        return choices.get(str(given), given)
    if origin in (Sequence, tuple) and not isinstance(given, tuple | list):
        return (given,)
    return tuple(given) if isinstance(given, list) else given
