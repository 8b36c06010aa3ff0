"""The trials of a sweep: every combination of the values of some settings.

num_samples=1,5,50           values between commas, or spaces: num_samples=1 5 50
seed=0:3                     the integers 0, 1, 2
model_settings="hidden=8 latent_dim=2 | hidden=99"
                             for a setting of several words: words between
                             spaces, values between bars
"""

import hashlib
import importlib
import inspect
import itertools
import math
import pkgutil
import re
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import experiments
from experiments.harness.arguments import value_of
from vaejax.core import UnknownNameError, VaejaxError, unknown
from vaejax.core.ranges import cut, shown

RESERVED = {"out", "overwrite", "resume"}  # settings that the sweep decides
LONGEST_NAME = 100  # file systems allow 255 bytes
MOST_TRIALS = 10_000


class Trial(NamedTuple):
    """One combination, as the experiment's settings."""

    name: str  # the folder's name
    varied: dict[str, Any]
    config: Any


def load_experiment(name: str) -> ModuleType:
    """The module of an experiment: a dataclass `Config`, and `run(config)`.

    The settings have an `out` and an `overwrite`, and a `resume` if it can resume. A
    `check(config)`, if there is one, refuses settings before anything is computed.

    Raises:
        UnknownNameError: there is no such experiment.
    """
    try:
        module = importlib.import_module(name if "." in name else f"experiments.{name}")
    except Exception as error:  # a user's module may raise anything
        raise _unknown(name, str(error) or type(error).__name__) from error
    if not _is_experiment(module):
        raise _unknown(name, "it has no run, or no Config with out and overwrite")
    return module


def _is_experiment(module: ModuleType) -> bool:
    fields = getattr(getattr(module, "Config", None), "__dataclass_fields__", {})
    return hasattr(module, "run") and {"out", "overwrite"} <= fields.keys()


def _unknown(name: str, reason: str) -> UnknownNameError:
    modules = (
        importlib.import_module(f"experiments.{found.name}")
        for found in pkgutil.iter_modules(experiments.__path__)
    )
    known = [m.__name__.partition(".")[2] for m in modules if _is_experiment(m)]
    return UnknownNameError(
        f"{unknown('experiment', name, known)}, or a module of yours by its dotted "
        f"name ({reason})"
    )


def make_trials(
    experiment: str, grid: Sequence[str], settings: Sequence[str], out: Path
) -> list[Trial]:
    """Make the product of the grid, the last name varying fastest.

    Args:
        experiment: as for `load_experiment`.
        grid: `name=values`, as in this module's docstring.
        settings: `name=value`, the same for all trials.
        out: the folder of the trials' folders.

    Raises:
        VaejaxError: an unknown name, one that comes twice, a value of another type.
    """
    config_class = load_experiment(experiment).Config
    types = typing.get_type_hints(config_class)
    if not grid:
        raise VaejaxError("the grid is empty: name settings, as in --grid seed=0:3")
    axes = _parse_all(experiment, types, grid, _grid_values)
    fixed = _parse_all(experiment, types, settings, _only_value)
    if twice := sorted(axes.keys() & fixed.keys()):
        raise VaejaxError(
            f"{', '.join(twice)} are in --grid and in --settings: leave one out"
        )
    if math.prod(map(len, axes.values())) > MOST_TRIALS:
        raise VaejaxError(
            f"the grid has more than {MOST_TRIALS:,} combinations: name fewer values"
        )
    # An experiment that cannot resume starts anew.
    go_on = {"resume" if "resume" in types else "overwrite": True}
    trials = []
    for values in itertools.product(*axes.values()):
        varied = dict(zip(axes, values, strict=True))
        name = _folder_name(varied)
        config = config_class(**fixed, **varied, **go_on, out=out / name)
        trials.append(Trial(name, varied, config))
    return trials


def _parse_all(
    experiment: str,
    types: dict[str, Any],
    pairs: Sequence[str],
    parse: Callable[[str, str, Any], Any],
) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    joined: list[str] = []
    for word in pairs:  # a value between spaces belongs to the name before
        if joined and "=" not in word:
            joined[-1] += f",{word}"
        else:
            joined.append(word)
    for pair in joined:
        name, equals, text = pair.partition("=")
        if not equals:
            raise VaejaxError(
                f"{shown(pair)} is not a setting: write name=value, as in seed=3"
            )
        if name in RESERVED:
            raise VaejaxError(f"a sweep sets {name} of its trials itself: leave it out")
        if name not in types:
            raise unknown(f"setting of {experiment}", name, types.keys() - RESERVED)
        if name in parsed:
            raise VaejaxError(f"the setting {name} is given twice: leave one out")
        parsed[name] = parse(name, text, types[name])
    return parsed


def _grid_values(name: str, text: str, annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is tuple:
        values = [_only_value(name, part, annotation) for part in text.split("|")]
    else:
        values = []
        for part in text.split(","):
            span = re.fullmatch(r"(\d{1,18}):(\d{1,18})", part)
            if span and int in (annotation, *typing.get_args(annotation)):
                first, end = map(int, span.groups())
                values += range(first, min(end, first + MOST_TRIALS + 1))
            else:
                values.append(_only_value(name, part, annotation))
    if not values or len(set(values)) < len(values):
        raise VaejaxError(
            f"{cut(f'{name}={text}')} in the grid is empty or repeats a value: give "
            "every value once"
        )
    return values


def _only_value(name: str, text: str, annotation: Any) -> Any:
    """The value as the experiment's command line reads it."""
    words = text.split() if typing.get_origin(annotation) is tuple else [text]
    try:
        return value_of(annotation, words)
    except ValueError:
        raise VaejaxError(
            f"{cut(f'{name}={text}')} cannot be read: write a value of the type "
            f"{inspect.formatannotation(annotation)}"
        ) from None


def _folder_name(varied: dict[str, Any]) -> str:
    """The name of a trial's folder: the varied settings, with a digest if shortened."""

    def written(value: Any) -> str:
        return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)

    full = ",".join(f"{name}={written(value)}" for name, value in varied.items())
    plain = re.sub(r"[^\w.,=+-]", "_", full, flags=re.ASCII)[:LONGEST_NAME]
    if plain == full:
        return full
    return f"{plain}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"
