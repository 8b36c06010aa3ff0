"""The names that a command reads from the source are those of the registries."""

import pytest

from experiments.harness.listing import KINDS
from experiments.harness.registered import SOURCES, registered


@pytest.mark.parametrize("kind", SOURCES)
def test_the_names_in_the_source_are_those_of_the_registry(kind):
    assert registered(kind) == list(KINDS[kind])
