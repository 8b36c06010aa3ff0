"""The gallery: what its trainings ask for can be had, also by those never run here."""

import pytest

from experiments.gallery import ENTRIES
from experiments.gallery.__main__ import PRESETS, Config, check
from vaejax.core import VaejaxError


def test_every_training_of_the_papers_makes_sense():
    assert list(check(Config(preset="paper"))) == list(ENTRIES)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_training_starts_from_one_before_it(preset):
    for name, entry in ENTRIES.items():
        before: list[str] = []
        for label, training in entry.presets[preset].items():
            start = training.start_from
            assert start is None or str(start) in before, (name, label)
            before.append(label)


def test_unknown_systems_and_presets_are_refused():
    with pytest.raises(VaejaxError, match=r"unknown systems \['vea'\]: use some of"):
        check(Config(systems=("vea",)))
    with pytest.raises(VaejaxError, match="unknown preset 'long': use one of"):
        check(Config(preset="long"))
