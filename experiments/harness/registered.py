"""The names of the registries, read from their source: a mistake needs no JAX."""

import ast
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import vaejax
from experiments.harness.arguments import Flag, named
from vaejax.core import UnknownNameError, unknown

LIBRARY = Path(vaejax.__file__).parent
SOURCES = {  # the kind of names, and the dictionary that has them
    "bounds": ("bounds/__init__.py", "BOUNDS"),
    "datasets": ("data/datasets.py", "DATASETS"),
    "estimators": ("estimators/__init__.py", "ESTIMATORS"),
    "kl_weights": ("kl_weights.py", "KL_WEIGHTS"),
    "models": ("models/__init__.py", "MODELS"),
    "optimizers": ("training/optimizers.py", "OPTIMIZERS"),
    "regularizers": ("regularizers/__init__.py", "REGULARIZERS"),
    "schedules": ("training/schedules.py", "SCHEDULES"),
}


def check_names(flags: Sequence[Flag], config: Any) -> None:
    """Refuse a name in a command's settings that no registry has.

    A path, which is there or has a point or a slash, names a user's own.

    Raises:
        UnknownNameError: naming the setting and the nearest names.
    """
    for flag in flags:
        value = getattr(config, flag.name)
        if flag.option.names not in SOURCES or not value:
            continue
        known = registered(flag.option.names)
        words = (value,) if isinstance(value, str) else value
        for name, _ in named(words):
            is_own = {"/", "."} & set(name) or os.path.exists(name)
            if is_own or name in (*known, "all"):
                continue
            own = ", or the path of your own data" * (flag.name == "dataset")
            kind = flag.name.removesuffix("s").replace("kl_", "KL ")
            refusal = unknown(kind, name, known)
            raise UnknownNameError(f"{refusal}{own}")


@cache
def registered(kind: str) -> list[str]:
    """The names of a kind."""
    file, variable = SOURCES[kind]
    assigned: dict[str, Any] = {
        ast.unparse(node.target): node.value
        for node in ast.parse((LIBRARY / file).read_text()).body
        if isinstance(node, ast.AnnAssign)
    }
    entries = assigned[variable].right  # of `Registry(kind) | entries`
    return [ast.literal_eval(key) for key in entries.keys]
