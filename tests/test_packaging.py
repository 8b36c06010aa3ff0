"""The declared dependencies are the ones used, pinned, and light to import."""

import ast
import configparser
import importlib.metadata
import inspect
import itertools
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vaejax
from experiments.harness import extras

ROOT = Path(__file__).parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def requirements(lines: str) -> list[Requirement]:
    lines = [line.strip() for line in lines.splitlines()]
    return [Requirement(line) for line in lines if line and line[0] != "#"]


NEEDED = requirements(SETUP["options"]["install_requires"])
EXTRAS = {
    name: requirements(lines) for name, lines in SETUP["options.extras_require"].items()
}
PINS = {
    canonicalize_name(pin.name): pin
    for pin in requirements((ROOT / "requirements.txt").read_text())
}


def test_every_pin_is_exact_but_that_of_the_nightly_build():
    for name, pin in PINS.items():
        (specifier,) = pin.specifier
        assert specifier.operator == (">=" if name == "tfp-nightly" else "=="), name


DECLARED = [*NEEDED, *itertools.chain(*EXTRAS.values())]
# Large and stood in for in the tests, or of tests that are skipped without them.
UNPINNED = {"ray", "wandb", "mlflow", "anndata", "datasets"} | {
    *("equinox", "flatbuffers", "safetensors"),
}


@pytest.mark.parametrize(
    "requirement", [r for r in DECLARED if r.name not in UNPINNED], ids=lambda r: r.name
)
def test_the_supported_range_contains_the_pin(requirement):
    (pin,) = PINS[canonicalize_name(requirement.name)].specifier
    assert requirement.specifier.contains(pin.version, prereleases=True)


def installed_closure(roots: list[Requirement]) -> set[str]:
    """Everything that the roots pull in here, by the metadata of what is installed."""
    seen, queue = set(), [(root, frozenset(root.extras)) for root in roots]
    while queue:
        requirement, extras = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for line in importlib.metadata.requires(name) or []:
            child = Requirement(line)
            if child.marker is None or any(
                child.marker.evaluate({"extra": extra}) for extra in extras | {""}
            ):
                queue.append((child, frozenset(child.extras)))
    return {name for name, _ in seen}


def test_the_pins_are_what_the_ranges_pull_in_and_nothing_else():
    declared = NEEDED + EXTRAS["test"] + EXTRAS["docs"] + EXTRAS["dev"]
    closure = installed_closure(declared)
    assert closure - {"setuptools", "pip"} == set(PINS)


@pytest.mark.parametrize("device", ["gpu", "tpu"])
def test_the_extra_of_a_device_supports_the_range_of_jax_itself(device):
    (extra,) = EXTRAS[device]
    assert [extra.specifier] == [r.specifier for r in NEEDED if r.name == "jax"]


@pytest.mark.parametrize(
    ("package", "extra"), extras.EXTRAS.values(), ids=lambda name: name
)
def test_the_extra_that_a_message_names_installs_the_package(package, extra):
    assert package in {requirement.name for requirement in EXTRAS[extra]}


def third_party_imports(root: Path) -> set[str]:
    trees = [
        ast.parse(path.read_text())
        for package in ("vaejax", "experiments")
        for path in (root / package).rglob("*.py")
        if path.parent.name != "peers"  # each in an environment of its own
    ]
    names = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"vaejax", "experiments"}


def undeclared(root: Path) -> set[str]:
    declared = {canonicalize_name(requirement.name) for requirement in NEEDED}
    providers = importlib.metadata.packages_distributions()
    return {
        name
        for name in third_party_imports(root)
        if declared.isdisjoint(map(canonicalize_name, providers.get(name, [])))
    }


def test_every_third_party_import_is_declared():
    assert third_party_imports(ROOT)
    assert undeclared(ROOT) == set()


def test_an_undeclared_import_is_caught(tmp_path):
    (tmp_path / "vaejax").mkdir()
    (tmp_path / "vaejax" / "planted.py").write_text("import jax, yaml\nimport torch")
    assert undeclared(tmp_path) == {"yaml", "torch"}


def test_everything_that_vaejax_exports_has_a_docstring():
    exported = {
        name: value
        for name, value in ((name, getattr(vaejax, name)) for name in vaejax.__all__)
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith("vaejax")
    }
    assert exported
    for name, value in exported.items():
        # dataclasses and NamedTuples make up a docstring, "Name(field, ...)"
        generated = f"{value.__name__}("
        assert value.__doc__, name
        assert not value.__doc__.startswith(generated), name


def test_the_version_is_that_of_the_package():
    assert vaejax.__version__ == importlib.metadata.version("vaejax")
    assert vaejax.__version__ == SETUP["metadata"]["version"]


def test_type_checkers_are_told_of_the_annotations():
    assert (ROOT / "vaejax" / "py.typed").exists()
    assert "py.typed" in SETUP["options.package_data"]["*"]


def test_only_the_library_is_installed():
    """A folder called experiments may be the user's own."""
    found = SETUP["options.packages.find"]["include"].split()
    assert found == ["vaejax*"]
    assert (ROOT / "experiments" / "train.py").exists()
