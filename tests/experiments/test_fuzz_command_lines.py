"""No command line ends in a traceback, or leaves anything: exit code 2 and one message.

Command lines are drawn for every experiment, from the fields of its `Config`: numbers
at and beyond every limit, words, settings, names and paths of any characters. Each goes
through all that comes before a run's folder is opened, where this test ends it.
"""

import contextlib
import importlib
import inspect
import pkgutil
import sys
import typing
from pathlib import Path
from types import UnionType
from unittest import mock

import hypothesis
import pytest
from hypothesis import strategies as st

import experiments
from experiments import speed
from experiments.harness import run_folder, run_lock
from experiments.harness.cli import run_main
from experiments.training import run as training_run
from vaejax import bounds, estimators, kl_weights, models, priors, regularizers
from vaejax.core import VaejaxError
from vaejax.data import DATASETS
from vaejax.families import FAMILIES

pytestmark = pytest.mark.slow

NAMES_OF_MODULES = [found.name for found in pkgutil.iter_modules(experiments.__path__)]
MODULES = {  # every experiment: what has a Config and hands it to run_main
    name: module
    for name in NAMES_OF_MODULES
    for module in [
        importlib.import_module(
            f"experiments.{name}{'.__main__' if name == 'gallery' else ''}"
        )
    ]
    if hasattr(module, "Config") and hasattr(module, "run_main")
}
REACHED = "the folder of the run would be opened here"

NAMES = sorted(
    bounds.BOUNDS.keys()
    | estimators.ESTIMATORS.keys()
    | models.MODELS.keys()
    | DATASETS.keys()
)
JUNK = (
    *("", ".", "..", "a.b", "nope", "all", "-", "=", "[/b]", r"$\frac{", "a\nb", "\t"),
    *("\udcff", "🙂", "{}", "%s", "x" * 300, "None", "<script>", "/", "é"),
)
INTEGERS = (
    *("-1", "0", "1", "2", "3", "7", "40", "101", "1000001", "4294967296"),
    *("9223372036854775807", "18446744073709551616", "1" + "0" * 30, "9" * 400),
    *("9" * 5000, "1.5", "1e3", "0x10", "nan", "٣", "1_000", ""),
)
FLOATS = (
    *("-1", "0", "-0.0", "0.5", "1", "2", "nan", "inf", "-inf", "1e-320", "1e300"),
    *("1e999", "9" * 400, "x", ""),
)
LITERALS = (
    *INTEGERS,
    *FLOATS,
    *("true", "False", "()", "[]", "[1]", "{}", "{1:2}", "{'a':1}", "1,2", "8,8"),
    *("(1,)*9", "0x" + "f" * 5000, "'", "((((", "None", "b'x'", "1j", "..."),
)


def settings_of(registry) -> set[str]:
    return {
        name
        for factory in registry.values()
        for name in inspect.signature(factory).parameters
    }


TOML = (  # as the value of a setting in a file
    *LITERALS,
    *("1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "[1979-05-27]", "[[[]]]"),
    *("inf", "-nan", "[nan]", "'word'", "['a', 1]", '"\\u0000"', "{a = {b = 1}}"),
    *("[" * 20_000, "{a=" * 5_000, "[" * 60 + "]" * 60, "'" + "x" * 5_000 + "'"),
)


SETTINGS = sorted(
    {"name", "registry", "pairs", "settings", "self", "", ".", "a.b.c", "prior."}
    | set().union(*map(settings_of, (models.MODELS, bounds.BOUNDS)))
    | set().union(*map(settings_of, (estimators.ESTIMATORS, kl_weights.KL_WEIGHTS)))
    | settings_of(regularizers.REGULARIZERS)
    | {f"prior.{name}" for name in settings_of(priors.PRIORS)}
    | {f"posterior.{name}" for name in settings_of(FAMILIES)}
    | {f"likelihood.{name}" for name in settings_of(FAMILIES)}
)
WORDS = st.sampled_from(NAMES) | st.sampled_from(JUNK)
PAIRS = st.builds(
    "{}={}".format,
    st.sampled_from(SETTINGS),
    st.sampled_from(LITERALS) | WORDS,
)
PATHS = st.sampled_from(("file", "folder", "folder/none", "file/none", *JUNK))


def values(name: str, annotation: typing.Any) -> st.SearchStrategy[list[str]]:
    """The words after a flag."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (UnionType, typing.Union):
        return values(name, typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is tuple:
        each = values(name, typing.get_args(annotation)[0]).map(lambda words: words[0])
        return st.lists(each, max_size=3)
    if annotation is bool:
        return st.just([])
    if name.endswith("settings") or name in ("regularizers", "kl_weight", "grid"):
        return (PAIRS | WORDS).map(lambda word: [word])
    kinds = {int: INTEGERS, float: FLOATS}
    words = st.sampled_from(kinds[annotation]) if annotation in kinds else WORDS
    return (PATHS if annotation is Path else words).map(lambda word: [word])


def lines(config_class: type) -> st.SearchStrategy[list[str]]:
    """Some flags with what follows them; those that are drawn twice come twice."""
    hints = typing.get_type_hints(config_class, include_extras=True)
    flags = [
        st.tuples(st.just(f"--{name.replace('_', '-')}"), values(name, hint))
        for name, hint in hints.items()
    ]
    return st.lists(st.one_of(flags), min_size=1, max_size=3).map(
        lambda chosen: [word for flag, words in chosen for word in (flag, *words)]
    )


def files(config_class: type) -> st.SearchStrategy[str]:
    """The text of a settings file, in TOML or nearly so."""
    names = st.sampled_from([*typing.get_type_hints(config_class), "result", "[a]"])
    keys = names | st.sampled_from((*JUNK, ".".join("a" * 5_000)))
    pairs = st.builds("{} = {}".format, keys, st.sampled_from(TOML))
    return st.lists(pairs, min_size=1, max_size=3).map("\n".join)


REGISTRIES = {
    "--model": (models.MODELS, ["--model-settings"]),
    "--bound": (bounds.BOUNDS, ["--bound-settings"]),
    "--estimator": (estimators.ESTIMATORS, ["--estimator-settings"]),
    "--regularizers": (regularizers.REGULARIZERS, []),
    "--kl-weight": (kl_weights.KL_WEIGHTS, []),
}


@st.composite
def lines_of_settings(draw: st.DrawFn) -> list[str]:
    """A name of a registry, with settings that its factory, or a part of it, takes."""
    flag, (registry, more) = draw(st.sampled_from(list(REGISTRIES.items())))
    name = draw(st.sampled_from(sorted(registry)))
    taken = inspect.signature(registry[name]).parameters
    parts = [s for s in SETTINGS if "." in s and f"{s.partition('.')[0]}" in taken]
    keys = st.sampled_from([*taken, *taken, *parts, "epochs", "name"])
    pairs = st.builds("{}={}".format, keys, st.sampled_from(LITERALS) | WORDS)
    drawn = draw(st.lists(pairs, min_size=1, max_size=3))
    return [flag, name, *more, *drawn, "--allow-bias"]


def opened(*args, **kwargs):
    raise VaejaxError(REACHED)


@contextlib.contextmanager
def nothing_is_opened():
    """Every experiment ends where it would open its folder, or write anything."""
    with contextlib.ExitStack() as stack:
        for holder, name in [(run_folder, "open_run"), (run_lock, "locked")]:
            stack.enter_context(mock.patch.object(holder, name, opened))
        stack.enter_context(mock.patch.object(Path, "mkdir", opened))
        stack.enter_context(
            mock.patch.object(MODULES["prepare_data"], "prepare", opened)
        )
        few = speed._blobs(9, 0), speed._blobs(9, 1)
        stack.enter_context(mock.patch.object(speed, "_images", return_value=few))
        yield


SLOW = ("cost", "demo", "gallery")  # what makes many objectives before its folder
BASE = {  # what comes before the words that are drawn, so that lines are quick
    "train": "--dataset digits --model-settings hidden=8 latent_dim=2",
    "replay": "--checkpoint folder",
    "precision": "--checkpoint folder",
    "view": "--checkpoint folder",
    "prepare_data": "nope",
    "sweep": "--settings dataset=digits --grid seed=0:2",
    "demo": "--draws 40",
    "gallery": "--systems vae",
    "cost": "--estimators dreg --num-samples 1 --batch-size 1 --width 8 --num-seeds 1 "
    "--latent-dim 2 --num-examples 1",
    "advise": "--estimators dreg --batch-size 2 --pool 3",
    "bound_tightness": "--bounds elbo --num-samples 1 --num-examples 2",
}


def check_line(name: str, words: list[str], capsys, run=None) -> None:
    """Run one line to where its folder is opened, and look at how it ends."""
    module = MODULES[name]
    argv = [f"{name}.py", *BASE.get(name, "").split(), *words]
    before = sorted(Path().rglob("*"))
    with (
        nothing_is_opened(),
        mock.patch.object(sys, "argv", argv),
        pytest.raises(SystemExit) as ended,
    ):
        run_main(module.Config, run or getattr(module, "main", module.run))
    err = capsys.readouterr().err
    assert ended.value.code == 2 or ((run or name == "runs") and ended.value.code == 0)
    assert "Traceback" not in err
    assert err.startswith("error: ") or "--help" in err or ended.value.code == 0
    assert len(err) < 5_000
    assert sorted(Path().rglob("*")) == before


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    Path("folder").mkdir()


def fuzz(drawn, check, *, lines):
    """Call `check` with so many command lines, the same at every run."""

    @hypothesis.settings(
        max_examples=lines,
        database=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(drawn)
    def checked(words):
        check(words)

    checked()


@pytest.mark.parametrize("name", MODULES)
def test_any_command_line_is_run_or_refused_in_one_message(name, folder, capsys):
    drawn = lines(MODULES[name].Config)
    count = 8 if name in SLOW else 40
    fuzz(drawn, lambda words: check_line(name, words, capsys), lines=count)


@pytest.mark.parametrize("name", MODULES)
def test_any_settings_file_is_read_or_refused_in_one_message(name, folder, capsys):
    def check(text):
        Path("file.toml").write_text(text, errors="surrogateescape")
        check_line(name, ["--config", "file.toml"], capsys, run=opened)

    fuzz(files(MODULES[name].Config), check, lines=50)


def test_any_setting_of_a_factory_is_taken_or_refused_in_one_message(folder, capsys):
    def check(words):
        check_line("train", words, capsys, run=training_run.prepare)

    fuzz(lines_of_settings(), check, lines=150)


def test_a_traceback_and_what_is_left_behind_are_caught(folder, capsys):
    def crash(config):
        raise ZeroDivisionError

    def litter(config):
        Path("left").touch()
        raise VaejaxError("refused too late")

    with pytest.raises(ZeroDivisionError):
        check_line("train", [], capsys, run=crash)
    with pytest.raises(AssertionError):
        check_line("train", [], capsys, run=litter)
