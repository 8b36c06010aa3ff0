"""Estimators and bounds as a command line names them: `dreg`, or with settings.

    --estimators pathwise gumbel_softmax gumbel_softmax:temperature=0.3

The name of an estimator or bound includes its settings, so that every cell, row, figure
and sentence keyed by the name belongs to one choice of settings.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from experiments.harness.arguments import named
from vaejax.bounds import BOUNDS
from vaejax.core import Bound, Estimator, VaejaxError, build
from vaejax.estimators import ESTIMATORS

T = TypeVar("T", Bound, Estimator)


def choose_estimators(words: Sequence[str]) -> list[Estimator]:
    """Build the estimators that the words name; all of them for the one word `all`.

    Raises:
        VaejaxError: an unknown name or setting, or an estimator that is named twice.
    """
    return _choose("estimators", ESTIMATORS, words)


def choose_bounds(words: Sequence[str]) -> list[Bound]:
    """Build the bounds that the words name, as `choose_estimators` does."""
    return _choose("bounds", BOUNDS, words)


def choose(registry: Mapping[str, Callable[..., T]], word: str) -> T:
    """Build what the one word names, with its settings."""
    ((name, settings),) = named([word])
    return build(registry, name, settings)


def _choose(
    field: str, registry: Mapping[str, Callable[..., T]], words: Sequence[str]
) -> list[T]:
    if "all" in words and len(words) > 1:
        raise VaejaxError(
            f"all stands for every one of {', '.join(registry)}: use all alone"
        )
    chosen = registry if tuple(words) == ("all",) else words
    found = [build(registry, name, settings) for name, settings in named(chosen)]
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise VaejaxError(f"{field} is {tuple(words)}: name each one once")
    return found
