"""Records built by a registry's factory from its name and settings.

    build(MODELS, "gaussian_mlp", latent_dim=20)
    build(MODELS, "gaussian_mlp", ["latent_dim=20", "prior.num_components=10"])

Settings are values, or words as a command line has them. A word becomes a value of the
type in the factory's annotation; a setting that the factory passes on to another
factory, as `prior_settings`, is read by the annotations of the other factory.
"""

import ast
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import Parameter
from types import MappingProxyType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from vaejax.core.errors import UnknownNameError, VaejaxError, one_of, unknown
from vaejax.core.factories import REGISTRIES, settings_of
from vaejax.core.own_code import own_factory
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
        name: one of these, or the user's own, as in `my_models.py:my_vae`.
        words: settings as text, `name=value`.
        follows: what follows from the data set or the model around it, and is not to
            be set; the factory is given what it takes of these.
        settings: settings as values, none of which may be among the words.

    Raises:
        UnknownNameError: listing the known names, or the settings the factory takes.
        VaejaxError: a registry that is none; a name that is no word, or names no
            factory of the user's; a value that the setting's annotation does not allow;
            a setting that is given twice, or that follows.
    """
    if not isinstance(registry, Mapping) or not all(map(callable, registry.values())):
        names = ", ".join(f"vaejax.{one}" for one in REGISTRIES.values())
        raise VaejaxError(
            f"registry is {shown(registry)}: give factories by name, as in {names}"
        )
    factory = factory_of(registry, name)
    taken = settings_of(factory)
    known = {key: value for key, value in follows.items() if key in taken}
    written = parse_words(words)
    own = written | settings
    if twice := sorted(known.keys() & own.keys() | written.keys() & settings.keys()):
        raise VaejaxError(
            f"{', '.join(twice)} of {name} follow from the data set or the model: "
            "leave them out"
        )
    return factory(**known, **typed(name, factory, own))


def factory_of(
    registry: Mapping[str, Callable[..., T]], name: str, kind: str = ""
) -> Callable[..., T]:
    """The factory of a registered name, or the user's own, as in `my_models.py:my_vae`.

    Args:
        registry: factories by name.
        name: one of these, or a file or module and a factory in it.
        kind: what is named, for the message, if not the registry's kind.

    Raises:
        UnknownNameError: listing the known names.
        VaejaxError: a name that is no word; see `own_factory`.
    """
    kind = kind or getattr(registry, "kind", "name")
    if not isinstance(name, str):
        known = ", ".join(sorted(registry))
        raise VaejaxError(f"{kind} is {shown(name)}: give a word, one of {known}")
    registered, colon, rest = name.partition(":")
    if colon and registered in registry:
        raise _no_setting(rest)
    if colon:
        record = next(iter(registry.values())).__annotations__["return"]
        return own_factory(name, record)
    if name not in registry:
        raise unknown(kind, name, registry)
    return registry[name]


def checked(factory: Callable[Settings, T]) -> Callable[Settings, T]:
    """Wrap a factory to refuse, when called directly, the settings `build` refuses."""

    @wraps(factory)
    def call(*args: Settings.args, **settings: Settings.kwargs) -> T:
        typed(factory.__name__, factory, by_name(factory, args, settings))
        return factory(*args, **settings)

    return call


def answered(function: Callable[Settings, T]) -> Callable[Settings, T]:
    """Wrap a function to refuse unknown and missing arguments in one sentence."""

    @wraps(function)
    def call(*args: Settings.args, **settings: Settings.kwargs) -> T:
        by_name(function, args, settings)
        return function(*args, **settings)

    return call


def by_name(
    function: Callable[..., Any], args: Sequence[Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by name.

    Raises:
        UnknownNameError: listing the settings that the function takes.
        VaejaxError: more values without a name than it takes, or too few values.
    """
    name, taken = function.__name__, settings_of(function)
    unnamed = [key for key, one in taken.items() if one.kind is not one.KEYWORD_ONLY]
    if len(args) > len(unnamed):
        raise VaejaxError(
            f"{name} takes {' and '.join(unnamed) or 'nothing'} without a name, and "
            f"was given {len(args)} values: write name=value for the others"
        )
    given = {**dict(zip(unnamed, args, strict=False)), **settings}
    _refuse_unknown(name, given, taken)
    required = [key for key, one in taken.items() if one.default is one.empty]
    if missing := [key for key in required if key not in given]:
        words = ", ".join(f"{key}=..." for key in missing)
        raise VaejaxError(
            f"{name} needs {' and '.join(missing)}: add {words} to the call"
        )
    return given


def check_calls(module: dict[str, Any], registry: dict[str, Callable[..., T]]) -> None:
    """Make the factories in a registry and in its module's globals `checked`."""
    registry.update({name: checked(factory) for name, factory in registry.items()})
    module.update(registry)


def typed(
    name: str, factory: Callable[..., Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings with every `Word` read as a value of the type the factory takes.

    Raises:
        UnknownNameError: listing the settings that the factory takes.
        VaejaxError: naming the setting, what it takes and what was given.
    """
    taken = settings_of(factory)
    _refuse_unknown(name, settings, taken)
    return {
        key: read(name, key, value, taken[key].annotation)
        for key, value in settings.items()
    }


def _refuse_unknown(
    name: str, given: Mapping[str, Any], taken: Mapping[str, Any]
) -> None:
    if others := sorted(given.keys() - taken.keys()):
        first, *_ = others
        advice = one_of(first, taken) if taken else "it takes none"
        raise UnknownNameError(f"{name!r} has no setting {shown(first)}: {advice}")


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
        if annotation is Parameter.empty:
            expected = f"annotated in its factory, as in {key}: int"
        elif mismatch(annotation, object()) is None:
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
            raise _no_setting(word)
        part, dot, own_name = name.partition(".")
        group = settings.setdefault(f"{part}_settings", {}) if dot else settings
        if not isinstance(group, dict) or (own_name or name) in group:
            raise VaejaxError(f"the setting {cut(name)} is given twice: leave one out")
        group[own_name or name] = Word(text)
    return settings


def _no_setting(word: str) -> VaejaxError:
    return VaejaxError(
        f"{shown(word)} is not a setting: write name=value, as in latent_dim=20"
    )


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
        return tuple(given.split(",")) if isinstance(given, str) else (given,)
    return tuple(given) if isinstance(given, list) else given
