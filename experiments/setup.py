"""From the names on a command line to the library's values."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from experiments.cli import parse_settings
from vaejax.core import VaejaxError, build
from vaejax.data import DATASETS, PROTOCOLS, ImageData

T = TypeVar("T")


def build_named(
    registry: Mapping[str, Callable[..., T]],
    name: str,
    pairs: Sequence[str] = (),
    **given: Any,
) -> T:
    """Build what a registry holds, with `name=value` settings and values that are given.

    Raises:
        VaejaxError: an unknown name or setting, or a value of the wrong type.
    """
    settings = parse_settings(pairs)
    if taken := sorted(settings.keys() & given.keys()):
        raise VaejaxError(f"{taken} of {name} follow from the data set: leave them out")
    if name in registry:
        parameters = inspect.signature(registry[name]).parameters
        for key in settings.keys() & parameters.keys():
            settings[key] = _as_annotated(
                name, key, settings[key], parameters[key].annotation
            )
    return build(registry, name, **settings, **given)


def _as_annotated(name: str, key: str, value: Any, annotation: Any) -> Any:
    """The value, if it is of the setting's type; a lone number for a sequence is one."""
    is_count = isinstance(value, int) and value >= 1
    if annotation is int and is_count:
        return value
    if annotation is float and isinstance(value, int | float):
        return float(value)
    if typing.get_origin(annotation) is Sequence:
        values = value if isinstance(value, tuple | list) else (value,)
        if all(isinstance(size, int) and size >= 1 for size in values):
            return tuple(values)
    if annotation is str or typing.get_origin(annotation) is Literal:
        return str(value)
    allowed = {int: "an integer of at least 1", float: "a number"}.get(
        annotation, "integers of at least 1, as in 200,200"
    )
    raise VaejaxError(f"{name}'s setting {key}={value!r} must be {allowed}")


def choose_protocol(dataset: str, protocol: str | None, binary: bool) -> str:
    """The protocol asked for, or the data set's first that fits the likelihood.

    Raises:
        VaejaxError: a likelihood of bits on grey values, whose "log-likelihood" would be
            a cross-entropy, or a density of real numbers on bits, which is unbounded.
    """
    allowed = build(DATASETS, dataset).protocols
    fitting = [name for name in allowed if (name != "none") == binary]
    kind = "bits" if binary else "real numbers"
    if protocol is None and fitting:
        return fitting[0]
    if protocol is None or (protocol in PROTOCOLS and protocol not in fitting):
        raise VaejaxError(
            f"the model's likelihood is one of {kind}, which the protocol "
            f"{protocol or allowed[0]!r} of {dataset} does not give: use "
            + (f"--protocol {' or '.join(fitting)}, or " if fitting else "")
            + "another --model-settings likelihood="
            + ("fixed_normal" if binary else "bernoulli")
        )
    return protocol


def mean_observation(data: ImageData, protocol: str) -> np.ndarray:
    """E x of the training split under a protocol, in [0, 1]."""
    if protocol == "threshold":
        return (data.images > 127).mean(0)
    scale = 1 if protocol == "static" else 255
    return data.images.mean(0) / scale
