"""Estimators as a command line names them: `dreg`, or with settings.

    --estimators pathwise gumbel_softmax gumbel_softmax:temperature=0.3

An estimator that is built so bears its settings in its name, so that every cell, row,
figure and sentence that is keyed by the name is one of the settings, too.
"""

import dataclasses
from collections.abc import Sequence

from vaejax.core import Estimator, VaejaxError, build, parse_words, settings_of, typed
from vaejax.estimators import ESTIMATORS


def choose_estimators(words: Sequence[str]) -> list[Estimator]:
    """Build the estimators that the words name.

    Raises:
        VaejaxError: an unknown name or setting, or an estimator that is named twice.
    """
    found = []
    for word in words:
        name, *pairs = word.split(":")
        built = build(ESTIMATORS, name, pairs)
        found.append(dataclasses.replace(built, name=full_name(name, pairs)))
    names = [estimator.name for estimator in found]
    if len(set(names)) < len(names):
        raise VaejaxError(f"estimators is {tuple(words)}: name each one once")
    return found


def full_name(name: str, pairs: Sequence[str]) -> str:
    """The name of an estimator with the settings that are not its defaults."""
    factory = ESTIMATORS[name]
    settings = typed(name, factory, parse_words(pairs))
    return ":".join(
        [
            name,
            *sorted(
                f"{key}={value}"
                for key, value in settings.items()
                if value != settings_of(factory)[key].default
            ),
        ]
    ).replace(" ", "")
