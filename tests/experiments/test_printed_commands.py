"""Every command that README.md and docs/ print runs, in their order, at a reduced size.

The commands are read from fences that name no language, and from code in a line that
begins as a command does. Each is first read, and checked, with all its words as its
experiment does before it computes: names and numbers that cannot be fail there. It then
runs with the sizes in `REDUCED` in the place of its own. They share one folder, so that
a run that a command reads must be one that another wrote before it. A command of an
experiment that stands in no table fails: a new one is either given a reduction, or the
test that runs it elsewhere.
"""

import configparser
import importlib
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import sweep
from experiments.harness.cli import parse, run_main
from experiments.sweeps.grid import make_trials
from experiments.training import report
from experiments.training.config import Config as TrainConfig
from experiments.training.run import check as check_training
from vaejax.core import VaejaxError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# Pages that another test runs, which makes their files.
RUN_APART = {"your_data.md"}  # tests/data/own/test_your_data_page.py
# In the order of the site's navigation, whose first page is README.md.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"] + [
    page
    for name in re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    if (page := ROOT / "docs" / name).exists() and name not in RUN_APART
]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_LINE = re.compile(r"(?<!`)`((?:python|make|pip|source) [^`]+)`(?!`)")
OF_SHELL = ("", "bash", "sh", "console")
OPTIONS = ("SETTINGS", "OPTIONS", "NAME")  # what the table below a command lists
LOOP = re.compile(r"for (\w+) in (\S+)[^;]*; do")

TRAINING = {
    "dataset": "digits",
    "epochs": "1",
    "eval-num-samples": "2",
    "eval-examples": "100",
}
ONE_CELL = {
    "estimators": "score_function",  # valid for every model and bound
    "num-samples": "2",
    "draws": "20",
    "batch-size": "2",
}
# Option by option, what is in the place of the printed values, or beside them.
REDUCED: dict[str, dict[str, str]] = {
    "train": TRAINING | {"snapshot-epochs": "1"},
    "sweep": {
        "grid": "num_samples=1 estimator=dreg seed=0",
        "settings": "bound=iwae epochs=1 dataset=digits eval_num_samples=2",
    },
    "runs": {},
    "estimator_variance": ONE_CELL
    | {"bounds": "iwae", "budget": "1s", "pool": "42", "cost": "counted"},
    "replay": {"draws": "10", "batch-size": "2", "estimators": "dreg"},
    "snr_vs_k": {
        "draws": "40",
        "num-samples": "1 2 3",
        "num-outer": "1 2",
        "fit-from": "1",
        "estimators": "dreg",
    },
    "bound_tightness": {"draws": "10", "num-samples": "1 4", "num-examples": "2"},
    "advise": ONE_CELL | {"passes": "1", "max-seconds": "9"},
    "precision": {"num-samples": "5"},
    "view": {"num-samples": "5", "examples": "20"},
    "apply": {"num-samples": "5"},
    "cost": {
        "num-samples": "1",
        "batch-size": "",
        "width": "",
        "latent-dim": "",
        "num-seeds": "",
        "num-devices": "",
        "num-examples": "",
        "base": "1 2 4",
        "rounds": "1",
        "seconds": "0.001",
        "estimators": "dreg",
    },
}
# What is read and checked here, but not run: why, and what runs it.
ELSEWHERE = {
    "coverage": "no option names fewer regimes, of which all take minutes to compile: "
    "test_coverage.py runs some",
    "export": "it needs an extra: test_exported.py",
    "gallery": "its trainings take minutes: test_gallery_shows.py",
    "prepare_data": "it downloads: test_prepare_data.py, and below from files",
    "speed": "its peers need environments of their own: test_speed.py",
}


def printed(page: Path) -> Iterator[list[str]]:
    """The words of every command of a page, in its order; each but once."""
    text = page.read_text()
    found: list[tuple[int, str]] = []
    for fence in FENCE.finditer(text):
        if fence[1] in OF_SHELL:
            lines = fence[2].replace("\\\n", " ").splitlines()
            joined = "\n".join(lines)
            if loops := LOOP.findall(joined):  # the first turn of every loop
                joined = re.sub(LOOP, "", joined).replace("done", "").replace(";", "")
                for name, first in loops:
                    joined = re.sub(rf"\$\{{?{name}\b\}}?", first, joined)
            found += [(fence.start(), line) for line in joined.splitlines()]
    outside = FENCE.sub(lambda fence: " " * len(fence[0]), text)
    found += [(one.start(), one[1]) for one in IN_LINE.finditer(outside)]
    ordered = sorted(found, key=lambda one: one[0])
    words = [tuple(shlex.split(line, comments=True)) for _, line in ordered]
    yield from (list(one) for one in dict.fromkeys(words) if one)


# Each but once, where it is printed first.
FIRST: dict[tuple[str, ...], str] = {}
for a_page in PAGES:
    for some_words in printed(a_page):
        FIRST.setdefault(tuple(some_words), a_page.name)
COMMANDS = [(name, list(words)) for words, name in FIRST.items()]


def listed(page: Path) -> Iterator[tuple[str, list[str], str]]:
    """The rows that stand for SETTINGS, OPTIONS or NAME, each with its command."""
    text = page.read_text()
    for fence in FENCE.finditer(text):
        last = shlex.split(fence[2].replace("\\\n", " ").strip().splitlines()[-1])
        name = last[-1].rpartition("=")[2]
        if name in OPTIONS:
            table = text[fence.end() :].partition("\n| ")[2].partition("\n\n")[0]
            for row in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE):
                yield name, last, row


def reduced(experiment: str, words: list[str]) -> list[str]:
    """The words with the sizes of the table in the place of theirs."""
    groups: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            groups.append([])
        groups[-1].append(word)
    given = {group[0] for group in groups if group}
    for option, value in REDUCED[experiment].items():
        flag = f"--{option}"
        # What bounds a size has no default to replace.
        if flag in given or option not in ("budget", "pool", "snapshot-epochs"):
            groups = [group for group in groups if group[:1] != [flag]]
            groups.append([flag, *value.split()])
    return [word for group in groups for word in group]


def filled(words: list[str]) -> list[str]:
    """The words with a value for every placeholder."""
    of_a_model = any(word.startswith("likelihood=") for word in words)
    values = {
        "SETTINGS": "prior=gaussian_mixture prior.num_components=3",
        "OPTIONS": "--encoder-steps 2",
        "NAME": "laplace" if of_a_model else "vae",
        "ROW": f"row_{len(words)}",  # a folder that no other command has
        "DIR": "raw",
        "PYTHON": "python",
    }
    text = " ".join(words)
    for name, value in values.items():
        text = re.sub(rf"\b{name}\b", value, text)
    return text.split()


def runs(words: list[str]) -> bool:
    """True if a command runs an experiment."""
    return words[:2] == ["python", "-m"]


def module_of(words: list[str]) -> tuple[str, Any]:
    """The name of the experiment that a command runs, and its module."""
    package, _, name = words[2].partition(".")
    assert (words[:2], package) == (["python", "-m"], "experiments"), words
    path = f"experiments.{name}" + ".__main__" * (name == "gallery")
    return name, importlib.import_module(path)


def call(module: Any, words: list[str]) -> None:
    """Run a command of this process as its own would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{module.__name__}.py", *words])
        with pytest.raises(SystemExit) as left:
            run_main(module.Config, getattr(module, "main", module.run))
    assert left.value.code == 0, shlex.join(words)


def read(module: Any, words: list[str]) -> None:
    """Read words as the experiment does, and call what it checks before it computes."""
    config = parse(module.Config, words)
    if module is sweep:
        trials = make_trials(
            config.experiment, config.grid, config.settings, config.out
        )
        # A combination that cannot be is a row of the sweep's table, and no mistake.
        assert len(sweep._check_trials(config.experiment, trials)) < len(trials)
    elif hasattr(module, "check"):
        module.check(config)


def test_every_page_is_read():
    pages = {page.name for page in (ROOT / "docs").rglob("*.md")}
    pages |= {"README.md", "CONTRIBUTING.md"}
    assert {page.name for page in PAGES} == pages - RUN_APART


def test_there_are_commands_and_each_is_known():
    names = {module_of(words)[0] for _, words in COMMANDS if runs(words)}
    assert len(COMMANDS) > 25
    assert names <= REDUCED.keys() | ELSEWHERE.keys()
    assert REDUCED.keys() <= names  # the tables hold nothing that is not printed
    with pytest.raises(KeyError):
        reduced("a_new_experiment", [])


def test_what_is_installed_or_made_is_there():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for _, words in COMMANDS:
        if words[0] == "make":
            assert words[1] in targets
        elif words[0] == "pip":
            # The package is on no index: its extras are those of this folder.
            extras = re.fullmatch(r"\.\[([\w,]+)\]", words[-1])
            assert words[:3] == ["pip", "install", "-e"]
            assert extras
            for extra in extras[1].split(","):
                assert setup.has_option("options.extras_require", extra)
        elif words[0] == "pytest":
            assert all((ROOT / path).exists() for path in words[1:])
        elif words[:2] == ["python", "-m"] or words[0] == "source":
            continue
        else:
            assert words[0] == "python"
            assert (ROOT / words[1]).exists()


def test_printed_commands_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "draw", lambda *_: {})
    for page, words in COMMANDS:
        if not runs(words):
            continue
        name, module = module_of(words)
        given = filled(words[3:])
        print(f"{page}: {shlex.join(words)}")
        read(module, given)
        if name in REDUCED:
            call(module, reduced(name, given))


@pytest.mark.parametrize(
    "words",
    [
        "estimator_variance --estimators drge",
        "estimator_variance --num-samples 0",
        "advise --estimators drge",
        "snr_vs_k --draws many",
        "train --epochs 0",
        "sweep --grid estimator=drge",
        "sweep --grid seed=0:3 --settings bound=iwea",
        "sweep --grid epochs=0,1",
        "gallery --systems vea",
        "coverage --seeds 1",
        "speed --rounds x",
    ],
)
def test_a_printed_name_or_number_that_cannot_be_is_found(words):
    """The words that `REDUCED` replaces are checked too."""
    _, module = module_of(["python", "-m", f"experiments.{words.split()[0]}"])
    with pytest.raises((VaejaxError, SystemExit)):
        read(module, words.split()[1:])


@pytest.mark.parametrize(
    ("name", "words", "row"), [one for page in PAGES for one in listed(page)]
)
def test_the_rows_of_a_table_are_settings_of_its_command(name, words, row):
    given = [
        part for word in words[3:] for part in shlex.split(word.replace(name, row))
    ]
    check_training(parse(TrainConfig, given))


@pytest.mark.parametrize(
    "words",
    [words for _, words in COMMANDS if "experiments.prepare_data" in words],
)
def test_printed_preparations_run_on_files_that_are_here(words, tmp_path):
    folder = Path(os.environ.get("VAEJAX_RAW_DIR", "nowhere"), words[3])
    if not folder.is_dir():
        pytest.skip(f"the raw files of {words[3]} are not in $VAEJAX_RAW_DIR")
    module = importlib.import_module("experiments.prepare_data")
    call(module, [words[3], "--raw-dir", str(folder), "--data-dir", str(tmp_path)])
    assert list(tmp_path.iterdir())


# Page by page, what is in the place of the sizes that its Python code prints.
SMALL = {
    "README.md": {
        "epochs=100": "epochs=1",
        "Example(x)": "Example(x[:3])",
        "num_samples=[1, 8]": "num_samples=[2]",
        "draws=1000": "draws=20",
    },
    "getting_started.md": {"epochs=100": "epochs=1", "Example(x)": "Example(x[:3])"},
    "benchmark.md": {"draws=2000": "draws=40"},
    "extending.md": {"epochs=5": "epochs=1"},
}
SHOWN = {
    "README.md": "mean log p(x)",
    "getting_started.md": "mean log p(x)",
    "benchmark.md": "bias",
}


def snippets(page: Path) -> str:
    """All Python code of a page, as one program."""
    fences = FENCE.finditer(page.read_text())
    return "\n".join(fence[2] for fence in fences if fence[1] == "python")


def test_every_page_with_python_is_run():
    # test_trained_models_page.py runs the page that needs a trained run.
    ours = SMALL.keys() | {"trained_models.md"}
    assert {page.name for page in PAGES if snippets(page)} == ours


@pytest.mark.parametrize("name", SMALL)
def test_the_printed_snippets_run(name, capsys):
    """The snippets run for one epoch, on a few test images, with few draws."""
    (page,) = [page for page in PAGES if page.name == name]
    code = snippets(page)
    for size, smaller in SMALL[name].items():
        assert size in code
        code = code.replace(size, smaller)
    exec(compile(code, name, "exec"), {})
    assert SHOWN.get(name, "") in capsys.readouterr().out
