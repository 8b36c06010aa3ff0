"""The fields of a `Config` as a command line: its flags, and the words behind them.

    --num-samples 8            num_samples: int
    --bounds elbo iwae,vr      bounds: tuple[str, ...], between spaces or commas
    --resume                   resume: bool

Nothing here imports JAX.
"""

import ast
import dataclasses
import difflib
import inspect
import os
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from vaejax.core import VaejaxError, one_of
from vaejax.core.ranges import cut, shown

ENOUGH = 0.6  # similarity from which one flag may be meant by the other
WORD = re.compile("[A-Za-z_]")
SETTING = re.compile(":(?=[^:=]*=)")  # where a setting begins


@dataclasses.dataclass(frozen=True)
class Option:
    """The options of a field's flag, beside the string below the field."""

    metavar: str = ""
    help: str | None = None  # replaces that string
    names: str | None = None  # the `--list` kind of the names it takes
    positional: bool = False
    splits: bool = True  # True if a comma separates words


class Flag(NamedTuple):
    """A field of a `Config` as a flag of the command line."""

    name: str
    group: str
    annotation: Any
    option: Option
    help: str
    default: Any  # dataclasses.MISSING where it must be given

    @property
    def kind(self) -> Any:
        """The type of the value, or `tuple`."""
        annotation = _plain(self.annotation)
        return tuple if typing.get_origin(annotation) is tuple else annotation

    @property
    def typed(self) -> str:
        """The flag itself, without its value."""
        return "" if self.option.positional else f"--{self.name.replace('_', '-')}"

    @property
    def usage(self) -> str:
        """The flag and its value."""
        return f"{self.typed} {self.metavar}".strip()

    @property
    def metavar(self) -> str:
        """The placeholder of the value: the choices of a `Literal`, or a name."""
        if typing.get_origin(self.kind) is Literal and not self.option.metavar:
            return "|".join(map(str, typing.get_args(self.kind)))
        return self.option.metavar

    def takes(self, count: int) -> bool:
        """True if a word may follow `count` others."""
        return self.kind is tuple or (self.kind is not bool and count == 0)


# The flags of every command, beside its settings.
COMMON = [
    Flag("help", "", bool, Option(), "", False),
    Flag("list", "", str, Option("KIND"), "", None),
    Flag("config", "", Path, Option("FILE"), "", None),
    Flag("trust", "", bool, Option(), "", False),
]


def flags_of(config_class: type) -> list[Flag]:
    """The fields of a `Config`, group by group; fields without a group come last."""
    hints = typing.get_type_hints(config_class, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    found = []
    for cls in reversed(config_class.__mro__[:-1]):
        group = "" if cls is config_class else (inspect.getdoc(cls) or "").rstrip(".")
        for name, text in _strings_below(cls).items():
            notes = getattr(hints[name], "__metadata__", ())
            option = next((n for n in notes if isinstance(n, Option)), Option())
            default = fields[name].default
            meaning = text if option.help is None else option.help
            found.append(Flag(name, group, hints[name], option, meaning, default))
    return found


def _strings_below(cls: type) -> dict[str, str]:
    """The string below every field of the class itself, or "" if there is none."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for node, below in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            string = (
                ast.literal_eval(below.value) if isinstance(below, ast.Expr) else ""
            )
            found[node.target.id] = " ".join(string.split())
    return found


def read_words(flags: Sequence[Flag], words: Sequence[str]) -> dict[str, list[str]]:
    """The words of a command line by flag; of a repeated flag, the last words.

    Raises:
        VaejaxError: a flag that there is not, or a word that belongs to none.
    """
    known = {flag.name: flag for flag in (*flags, *COMMON)}
    positional = next((flag for flag in flags if flag.option.positional), None)
    given: dict[str, list[str]] = {}
    current: Flag | None = None
    for word in words:
        if word.startswith("--") or word == "-h":
            typed, equals, word = word.partition("=")
            name = "help" if typed == "-h" else typed[2:].replace("-", "_")
            current = known.get(name)
            if current is None or current.option.positional:
                raise VaejaxError(_unknown_flag(typed, flags))
            given[name] = []
            if not equals:
                continue
        if current is None or not current.takes(len(given[current.name])):
            current = positional
        if current is None or not current.takes(len(given.get(current.name, ()))):
            raise VaejaxError(
                f"{shown(word)} belongs to no flag: write --flag before a value, and "
                "quote a value that holds spaces"
            )
        given.setdefault(current.name, []).append(word)
    return given


def _unknown_flag(typed: str, flags: Sequence[Flag]) -> str:
    """The message for an unknown flag, with the most similar flags."""
    words = re.split("[-_]", typed.lower().strip("-"))
    metavars = [flag.metavar for flag in flags]

    def likeness(flag: Flag) -> float:
        parts = flag.name.split("_")
        letter = flag.metavar.rstrip(".").lower()
        if words == [letter] and metavars.count(flag.metavar) == 1:
            return 1.1
        if "".join(words) == "".join(part[0] for part in parts):
            return 1.0
        if set(words) & {part for part in parts if len(part) > 3}:
            return 0.9
        return difflib.SequenceMatcher(None, "".join(words), "".join(parts)).ratio()

    near = sorted((flag for flag in flags if flag.typed), key=likeness, reverse=True)
    meant = [flag.typed for flag in near[:3] if likeness(flag) >= ENOUGH]
    guess = f"did you mean {' or '.join(meant)}? " if meant else ""
    if not meant and any(flag.name == "model_settings" for flag in flags):
        guess = "a model's own settings are written --model-settings name=value; "
    return f"there is no flag {shown(typed)}: {guess}--help lists all flags"


def values_of(
    flags: Sequence[Flag], given: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The values that the words stand for.

    Raises:
        VaejaxError: a value that is missing, or that is not of its flag's type.
    """
    values = {}
    for flag in flags:
        words = given.get(flag.name)
        if words is None:
            continue
        if not words and flag.takes(0) and flag.kind is not tuple:
            raise VaejaxError(f"{flag.typed} has no value: write {flag.usage}")
        try:
            values[flag.name] = value_of(flag.annotation, words, flag.option.splits)
        except ValueError as error:
            raise VaejaxError(f"{flag.typed or flag.metavar} is {error}") from error
    return values


def value_of(annotation: Any, words: Sequence[str], splits: bool = True) -> Any:
    """The value of this type that the words of a command line stand for.

    Raises:
        ValueError: there is none; the message names the word, and says what to write.
    """
    if typing.get_origin(annotation) is Annotated:
        return value_of(typing.get_args(annotation)[0], words, splits)
    if words == ["None"] and types.NoneType in typing.get_args(annotation):
        return None
    annotation = _plain(annotation)
    if typing.get_origin(annotation) is tuple:
        each = typing.get_args(annotation)[0]
        split = split_paths if each is Path else split_words
        parted = split(words) if splits else words
        return tuple(value_of(each, [word]) for word in parted)
    word = words[0] if words else "True"  # a switch has no word
    if annotation is Path and not word:
        raise ValueError("'': use the path of a file or folder")
    if typing.get_origin(annotation) is Literal or annotation is bool:
        choices = (True, False) if annotation is bool else typing.get_args(annotation)
        by_word = {str(choice): choice for choice in choices}
        if word not in by_word:
            raise ValueError(f"{shown(word)}: {one_of(word, by_word)}")
        return by_word[word]
    try:
        return annotation(word)
    except ValueError:
        kinds = {int: "an integer", float: "a number"}
        expected = kinds.get(annotation, "another word")
        raise ValueError(f"{shown(word)}: use {expected}") from None


def split_paths(words: Sequence[str]) -> list[str]:
    """Split words at commas, except the path of something that exists."""
    return [
        piece
        for word in words
        for piece in ([word] if os.path.exists(word) else _parted(word))
    ]


def split_words(words: Sequence[str]) -> list[str]:
    """Split words at commas, except within the value of a setting.

    `dreg,stl` are two words, as `dreg stl` are; so are `hidden=300,300 latent_dim=2`,
    `hidden=300 300 latent_dim=2` and `hidden=300,300,latent_dim=2`.
    """
    found: list[str] = []
    for word in words:
        for number, piece in enumerate(_parted(word)):
            before = found[-1] if found else ""
            is_value = "=" in before and not WORD.match(piece)
            brackets = number and any(
                before.count(a) > before.count(b) for a, b in ("()", "[]", "{}")
            )
            # True in nvil:decay=0.9, and in a setting that holds settings.
            within = "=" in before.partition(":")[2] or before.count("=") > 1
            if is_value or brackets or (number and "=" in piece and within):
                found[-1] += f",{piece}"
            else:
                found.append(piece)
    return found


def named(words: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The names among the words, each with its settings.

    Settings follow a name after a colon, or as words: `rebar:temperature=0.3` and
    `rebar temperature=0.3` are the same. Other colons belong to what is named, as in
    `my_estimators.py:mine:temperature=0.3`.

    Raises:
        VaejaxError: a setting that follows no name.
    """
    found: list[tuple[str, list[str]]] = []
    for word in words:
        name, *settings = SETTING.split(word)
        if "=" not in name:
            found.append((name, settings))
        elif found:
            found[-1][1].append(word)
        else:
            raise VaejaxError(
                f"the setting {shown(word)} follows no name: write NAME:{cut(word)}"
            )
    return found


def _parted(word: str) -> list[str]:
    return word.removesuffix(",").split(",")  # a list may be typed as `a, b`


def _plain(annotation: Any) -> Any:
    """The type without its limits and without an optional None."""
    while typing.get_origin(annotation) in (Annotated, types.UnionType, typing.Union):
        annotation = typing.get_args(annotation)[0]
    return annotation
