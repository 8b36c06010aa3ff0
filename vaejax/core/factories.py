"""Factories: the settings that one takes, and the registries that hold them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

# The registry that holds the factories of a kind.
REGISTRIES = {
    "Bound": "BOUNDS",
    "Estimator": "ESTIMATORS",
    "Family": "FAMILIES",
    "KLWeight": "KL_WEIGHTS",
    "Model": "MODELS",
    "Prior": "PRIORS",
    "Regularizer": "REGULARIZERS",
}


def settings_of(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The settings that a factory takes, with annotation and default."""
    return inspect.signature(factory, eval_str=True).parameters


def takes(function: Callable[..., Any], *values: Any) -> bool:
    """True if a function can be called with these values."""
    try:
        inspect.signature(function).bind(*values)
    except TypeError:
        return False
    return True
