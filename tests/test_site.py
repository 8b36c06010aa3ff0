"""The pages that `make docs` builds: their links, and what the build refuses.

`make docs` itself runs beside the tests (`.ci/run`).
"""

import re
import types
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

import vaejax
from docs import site_build

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


def dead(page: Path, text: str) -> list[str]:
    """The links of a page's text, read on a code host, that lead nowhere."""
    return [one for one in LINK.findall(text) if not (page.parent / one).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_of_a_page_is_dead(page):
    assert dead(page, page.read_text()) == []
    assert dead(page, "[a](nowhere.md) [b](nowhere.md#part)") == ["nowhere.md"] * 2


def test_a_readme_is_a_front_door():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_counts_of_the_readme_are_those_of_the_registries():
    text = (ROOT / "README.md").read_text()
    for count in (
        f"{len(vaejax.BOUNDS)} bounds",
        f"{len(vaejax.ESTIMATORS)} gradient estimators",
        f"{len(vaejax.FAMILIES)} families",
        f"{len(vaejax.PRIORS)} priors, {len(vaejax.MODELS)} models",
    ):
        assert f"| {count} |" in text


def test_every_public_symbol_is_documented():
    assert site_build.undocumented() == []


def test_a_symbol_without_a_docstring_is_found(monkeypatch):
    planted = types.ModuleType("vaejax.planted")
    exec("def bare(): pass\nclass Claimed:\n    'A claim.'", vars(planted))
    monkeypatch.setattr(site_build, "modules", lambda: {"planted": planted})
    assert site_build.undocumented() == ["vaejax.planted.bare"]
    with pytest.raises(PluginError, match=r"vaejax\.planted\.bare"):
        site_build.on_pre_build(None)


def test_a_stale_table_is_refused(monkeypatch, tmp_path):
    stale = site_build.COMPATIBILITY.read_text().replace("biased |", "refused |", 1)
    monkeypatch.setattr(site_build, "COMPATIBILITY", tmp_path / "compatibility.md")
    site_build.COMPATIBILITY.write_text(stale)
    with pytest.raises(PluginError, match="stale"):
        site_build.on_pre_build(None)


@pytest.mark.parametrize(
    ("tag", "remote"),
    [
        ('<script src="https://cdn.example.org/a.js">', True),
        ('<link rel="stylesheet" href="//fonts.example.org/a.css">', True),
        ('<img alt="a" src="images/signal.png">', False),
        ('<a href="https://example.org">', False),
    ],
)
def test_what_a_page_loads_from_the_network_is_found(tag, remote):
    assert bool(site_build.FROM_THE_NETWORK.search(tag)) is remote
