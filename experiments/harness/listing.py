"""The names that settings take, each with its claim, settings and defaults."""

import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from vaejax.bounds import BOUNDS
from vaejax.core import settings_of, unknown
from vaejax.core.ranges import mismatch
from vaejax.data import DATASETS
from vaejax.estimators import ESTIMATORS
from vaejax.families import FAMILIES
from vaejax.kl_weights import KL_WEIGHTS
from vaejax.models import MODELS
from vaejax.models.parts import LIKELIHOODS, POSTERIORS
from vaejax.priors import PRIORS
from vaejax.regularizers import REGULARIZERS
from vaejax.training.optimizers import OPTIMIZERS
from vaejax.training.schedules import SCHEDULES

KINDS: dict[str, Mapping[str, Callable[..., Any]]] = {
    "bounds": BOUNDS,
    "datasets": DATASETS,
    "estimators": ESTIMATORS,
    "families": FAMILIES,
    "kl_weights": KL_WEIGHTS,
    "likelihoods": LIKELIHOODS,
    "models": MODELS,
    "optimizers": OPTIMIZERS,
    "posteriors": POSTERIORS,
    "priors": PRIORS,
    "regularizers": REGULARIZERS,
    "schedules": SCHEDULES,
}
INDENT = " " * 4


def print_names(kind: str = "") -> None:
    """Print every name of a kind, with its docstring's first line and its settings.

    Without a kind, print the kinds.

    Raises:
        UnknownNameError: there is no such kind.
    """
    if not kind:
        print("--list takes one of", *KINDS)
        return
    if kind not in KINDS:
        raise unknown("kind of names", kind, KINDS)
    for name, factory in KINDS[kind].items():
        print(name)
        claim = inspect.cleandoc(factory.__doc__ or "").partition("\n")[0]
        for line in (claim, " ".join(_settings(factory))):
            if line:
                print(
                    textwrap.fill(
                        line, 80, initial_indent=INDENT, subsequent_indent=INDENT
                    )
                )


def _settings(factory: Callable[..., Any]) -> list[str]:
    """Settings for a command line, `name=default`, without those fixed by the data."""
    found = []
    for name, setting in settings_of(factory).items():
        is_array = mismatch(setting.annotation, object()) is None
        if is_array:
            continue
        default = setting.default
        if isinstance(default, Mapping):  # settings of a part
            found.append(f"{name.removesuffix('_settings')}.SETTING=VALUE")
        elif isinstance(default, tuple | list):
            found.append(f"{name}={','.join(map(str, default))}")
        else:
            unset = default is setting.empty or default is None
            found.append(name if unset else f"{name}={default}")
    return found
