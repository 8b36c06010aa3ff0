"""From the names on a command line to the library's values."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.harness.cli import parse_settings
from vaejax.core import Family, Model, VaejaxError, build
from vaejax.core.ranges import BARE, mismatch, shown
from vaejax.data import DATASETS, LEVELS, ImageData
from vaejax.models.parts import PARTS

T = TypeVar("T")
BITS = ("dynamic", "static", "threshold")  # protocols of 0 and 1
MAX_EXEMPLARS = 5000  # training examples that a prior may be made of


def check_named_once(config: Any, *fields: str) -> None:
    """Raise a `VaejaxError` for a setting that holds a value twice."""
    for field in fields:
        value = getattr(config, field)
        if len(set(value)) < len(value):
            raise VaejaxError(f"{field} is {value}: name each one once")


def build_named(
    registry: Mapping[str, Callable[..., T]],
    name: str,
    pairs: Sequence[str] = (),
    /,
    **given: Any,
) -> T:
    """Build what a registry holds, with `name=value` settings and given values.

    Raises:
        VaejaxError: an unknown name or setting, or a value of the wrong type.
    """
    settings = typed_settings(registry, name, pairs)
    if taken := sorted(settings.keys() & given.keys()):
        raise VaejaxError(f"{taken} of {name} follow from the data set: leave them out")
    return build(registry, name, **settings, **given)


def typed_settings(
    registry: Mapping[str, Callable[..., Any]], name: str, pairs: Sequence[str]
) -> dict[str, Any]:
    """The `name=value` settings, of the types that the factory of this name takes.

    Raises:
        VaejaxError: a value of the wrong type.
    """
    settings = parse_settings(pairs)
    if name in registry:
        settings = _typed(registry, name, settings)
        parameters = inspect.signature(registry[name]).parameters
        for part, choices in PARTS.items():
            own = f"{part}_settings"
            if own in settings and own in parameters:
                chosen = settings.get(part, parameters[part].default)
                settings[own] = _typed(choices, chosen, settings[own])
    return settings


def _typed(
    registry: Mapping[str, Callable[..., T]], name: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """The settings, those that the factory takes as of the types it says."""
    taken = inspect.signature(registry.get(name, lambda: None)).parameters
    return {
        key: _as_annotated(name, key, value, taken[key].annotation)
        if key in taken
        else value
        for key, value in settings.items()
    }


def _as_annotated(name: str, key: str, given: Any, annotation: Any) -> Any:
    """The value, if it is of the setting's type; a lone number is a sequence of one."""
    value = _converted(given, annotation)
    expected = mismatch(annotation, value)
    if mismatch(annotation, object()) is None:
        expected = "left out: it is no word or number"
    if expected:
        raise VaejaxError(f"{name}'s setting {key}={shown(given)} must be {expected}")
    return value


def _converted(given: Any, annotation: Any) -> Any:
    """What a literal of the command line stands for in Python, as far as it does."""
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


def choose_protocol(dataset: str, protocol: str | None, likelihood: Family) -> str:
    """The protocol asked for, or the data set's first that fits the likelihood.

    Raises:
        VaejaxError: a likelihood of bits on grey values, whose "log-likelihood" would
            be a cross-entropy; a density of real numbers on bits: unbounded; grey
            levels of numbers between them; counts of what is not counted.
    """
    allowed = build(DATASETS, dataset).protocols
    kind, fit = _outcomes(likelihood)
    fitting = [name for name in allowed if name in fit]
    if protocol is None and fitting:
        return fitting[0]
    if protocol is None or (protocol in allowed and protocol not in fitting):
        asked = protocol or allowed[0]
        raise VaejaxError(
            f"the model's likelihood is one of {kind}, which the protocol "
            f"{asked!r} of {dataset} does not give: use "
            + (f"--protocol {' or '.join(fitting)}, or " if fitting else "")
            + "a model with another likelihood, as in --model-settings likelihood="
            + _likelihood_of(asked)
        )
    return protocol


def _likelihood_of(protocol: str) -> str:
    if protocol == "counts":
        return "multinomial"
    return "bernoulli" if protocol in BITS else "fixed_normal"


def _outcomes(likelihood: Family) -> tuple[str, tuple[str, ...]]:
    """What the likelihood is one of, and the protocols that give it."""
    space = likelihood.space
    if space.kind == "bits":
        return "bits", BITS
    if space.kind == "counts":
        return "counts", ("counts",)
    if space.levels is not None:
        return "grey levels", ("none",)
    return "real numbers", ("none", "dequantized")


def labels_in_turn(model: Model, count: int) -> Array | None:
    """Labels y for so many examples, every class in turn; None where none is needed."""
    return None if model.num_classes is None else jnp.arange(count) % model.num_classes


def mean_observation(data: ImageData, protocol: str) -> np.ndarray:
    """E x of the training split under a protocol; of images in [0, 1]."""
    if protocol == "threshold":
        return (data.images > 127).mean(0)
    return _expected(data.images.mean(0), protocol)


def exemplars(data: ImageData, protocol: str) -> np.ndarray:
    """The first `MAX_EXEMPLARS` images as E x of each, in [0, 1]."""
    first = data.images[:MAX_EXEMPLARS]
    shown = first > 127 if protocol == "threshold" else _expected(first, protocol)
    return shown.astype(float)


def _expected(grey: np.ndarray, protocol: str) -> np.ndarray:
    """E x of intensities, or of their mean, under a protocol that is linear in them."""
    if protocol == "dequantized":
        return (grey + 0.5) / LEVELS
    return grey / (1 if protocol in ("static", "counts") else 255)
