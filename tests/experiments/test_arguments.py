"""Command lines: words to settings, the nearest flags, help that waits for no JAX."""

import dataclasses
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest

from experiments.__main__ import commands
from experiments.harness import progress
from experiments.harness.arguments import flags_of, named, split_words
from experiments.harness.cli import command_of, option, parse
from experiments.harness.help import help_text
from experiments.harness.settings import Settings
from experiments.training.config import Config as TrainConfig
from vaejax.core import VaejaxError

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers(Settings):
    """Numbers."""

    size: Annotated[int, option("N")] = 1
    """how large"""
    rates: Annotated[tuple[float, ...], option("X..")] = (0.5,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Numbers):
    """Every kind of setting."""

    place: Annotated[Path, option("DIR", positional=True)]
    """where"""
    paths: Annotated[tuple[Path, ...], option("DIR..")] = ()
    words: Annotated[tuple[str, ...], option("S=V..")] = ()
    kind: Annotated[Literal["plain", "other"], option("NAME")] = "plain"
    most: Annotated[int | None, option("N")] = None
    quiet: bool = False


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("here", {}),
        ("here --size 3 --quiet", {"size": 3, "quiet": True}),
        ("--size=3 here", {"size": 3}),
        ("--size 3 here", {"size": 3}),
        ("here --size 3 --size 4", {"size": 4}),
        ("here --rates 1 2.5", {"rates": (1.0, 2.5)}),
        ("here --rates 1,2.5", {"rates": (1.0, 2.5)}),
        ("here --rates 1, 2.5", {"rates": (1.0, 2.5)}),
        ("here --rates", {"rates": ()}),
        ("here --paths a,b c", {"paths": (Path("a"), Path("b"), Path("c"))}),
        ("here --paths a, b", {"paths": (Path("a"), Path("b"))}),
        ("here --paths a,,b", None),
        ("here --words a=1,b=2 c=3,4", {"words": ("a=1", "b=2", "c=3,4")}),
        ("here --words c=3 4 a=1", {"words": ("c=3,4", "a=1")}),
        ("here --kind other", {"kind": "other"}),
        ("here --most 7", {"most": 7}),
        ("here --most None", {"most": None}),
        ("here --size -1", None),
        ("--size 1", None),
        ("here --kind nope", None),
        ("here --quiet yes", None),
        ("here there", None),
        ("here --place there", None),
    ],
)
def test_words_are_settings(words, values):
    if values is None:
        with pytest.raises(VaejaxError):
            parse(Config, words.split())
    else:
        assert parse(Config, words.split()) == Config(place=Path("here"), **values)


def test_the_settings_of_a_method_follow_its_name_or_a_colon():
    typed = "--model m2:latent_dim=3 --bound beta_elbo:beta=4 --estimator rebar:a=1:b=2"
    config = parse(TrainConfig, [*typed.split(), "--estimator-settings", "c=3"])
    assert (config.model, config.model_settings) == ("m2", ("latent_dim=3",))
    assert (config.bound, config.bound_settings) == ("beta_elbo", ("beta=4",))
    assert config.estimator == "rebar"
    assert config.estimator_settings == ("a=1", "b=2", "c=3")
    assert dataclasses.replace(config) == config
    expected = [("rebar", ["a=1"]), ("stl", []), ("mmd", ["weight=5"])]
    assert named(["rebar:a=1", "stl", "mmd", "weight=5"]) == expected


def test_a_folder_whose_name_holds_a_comma_is_one_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b").mkdir()
    paths = parse(Config, ["here", "--paths", "a,b", "c,d"]).paths
    assert paths == (Path("a,b"), Path("c"), Path("d"))


@pytest.mark.parametrize(
    ("words", "parted"),
    [
        (["dreg,stl", "rloo"], ["dreg", "stl", "rloo"]),
        (["hidden=300,300", "latent_dim=2"], ["hidden=300,300", "latent_dim=2"]),
        (["latent_dim=2,", "hidden=300,300"], ["latent_dim=2", "hidden=300,300"]),
        (["hidden=300,300,latent_dim=2"], ["hidden=300,300", "latent_dim=2"]),
        (["hidden=300", "300", "latent_dim=2"], ["hidden=300,300", "latent_dim=2"]),
        (["hidden=(8,8),prior=vamp"], ["hidden=(8,8)", "prior=vamp"]),
        (["mmd", "weight=5,dip_i"], ["mmd", "weight=5", "dip_i"]),
        (["rebar:temperature=0.3,dreg"], ["rebar:temperature=0.3", "dreg"]),
        (["x={'a': b,c: 1}"], ["x={'a': b,c: 1}"]),
        (["settings=a=1,b=2", "c=3"], ["settings=a=1,b=2", "c=3"]),
    ],
)
def test_lists_are_parted_by_spaces_and_commas_alike(words, parted):
    assert split_words(words) == parted


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("--lr", ["--learning-rate"]),
        ("--k", ["--num-samples"]),
        ("--batchsize", ["--batch-size", "--micro-batch-size"]),
        ("--epoch", ["--epochs"]),
        ("--num_sample", ["--num-samples"]),
        ("--estimators", ["--estimator", "--estimator-settings"]),
        ("--zzz", []),
    ],
)
def test_an_unknown_flag_names_the_nearest(word, near):
    with pytest.raises(VaejaxError, match="--help lists all") as raised:
        parse(TrainConfig, [word, "1"])
    found = re.findall(r"--[\w-]+", str(raised.value).partition("mean")[2])
    assert found[: len(near)] == near
    assert (found == []) == (near == [])


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_is_there_before_jax_is_and_fits_80_columns(name):
    """Help takes at most a second of CPU time, and imports nothing heavy."""
    code = (
        "import resource, runpy, sys\n"
        f"sys.argv = ['-m', '--help']\n"
        "try:\n"
        f"    runpy.run_module('experiments.{name}', run_name='__main__', "
        "alter_sys=True)\n"
        "finally:\n"
        "    heavy = {'jax', 'scipy', 'matplotlib', 'optax'} & sys.modules.keys()\n"
        "    used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    print(sorted(heavy), used.ru_utime + used.ru_stime, file=sys.stderr)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    heavy, _, seconds = shown.stderr.rpartition(" ")
    assert heavy == "[]"
    assert float(seconds) < 1
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(f"python -m experiments.{name}")
    assert max(map(len, lines)) <= 80
    assert "a wrong name" not in shown.stdout
    assert "default: " in shown.stdout


@pytest.mark.parametrize("name", sorted(commands()))
def test_many_flags_are_grouped_and_defaults_follow_the_meaning(name):
    package = ".__main__" if name == "gallery" else ""
    config_class = importlib.import_module(f"experiments.{name}{package}").Config
    shown = help_text(name, config_class)
    flags = flags_of(config_class)
    if len(flags) > 10:
        assert len({flag.group for flag in flags}) >= 3
    for flag in flags:
        if flag.group:
            assert f"\n{flag.group}:\n" in shown
    words = " ".join(shown.split())
    # A flag's names and its default are in one pair of brackets.
    assert not re.search(r"\((default|--list)[^)]*\) \(", words)
    if name == "train":
        assert "reals (default: depends on data set and likelihood)" in words
    if name == "replay":
        assert "(--list bounds; default: the run's)" in words


def test_help_of_train_groups_its_flags():
    groups = dict.fromkeys(flag.group for flag in flags_of(TrainConfig))
    assert list(groups) == [
        *("Data", "Your own data", "Model", "Objective", "Optimisation"),
        *("Choice of the epoch", "Evaluation", "Watching"),
        *("Processes, devices and memory", ""),
    ]
    assert [flag.name for flag in flags_of(Config)][:2] == ["size", "rates"]
    assert flags_of(Config)[0].help == "how large"
    # Every field is a flag, and the fields keep the order of the flags.
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    assert [flag.name for flag in flags_of(TrainConfig)] == names


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands_are_listed_a_line_each():
    shown = run("experiments")
    assert shown.returncode == 0
    for name, claim in commands().items():
        assert re.search(rf"^{name} +{claim.split()[0]}", shown.stdout, re.MULTILINE)
    assert len(shown.stdout.splitlines()) == 1 + len(commands())
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert {"train", "gallery", "estimator_variance"} <= commands().keys()
    assert "harness" not in commands()


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("trian", "unknown command 'trian': did you mean 'train'[?] Use one of advise"),
        ("nonsense", "unknown command 'nonsense': use one of advise, .*train"),
        ("train", "write python -m experiments.train"),
    ],
)
def test_a_word_is_no_command(word, answer):
    shown = run("experiments", word)
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert re.fullmatch(f"error: {answer}.*\n", shown.stderr)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("models", "gaussian_mlp\n    Real latents, .*latent_dim=50 hidden=200,200"),
        ("estimators", "dreg\n    .*doubly reparam"),
        ("datasets", "mnist\n    .*60,000"),
        ("kl_weights", "linear\n    .*start=0.0 end=1.0"),
    ],
)
def test_names_are_listed_with_their_claims_and_settings(kind, expected, capsys):
    from experiments.harness.listing import KINDS, print_names

    print_names(kind)
    shown = capsys.readouterr().out
    assert re.search(expected, shown, re.DOTALL | re.IGNORECASE)
    assert max(map(len, shown.splitlines())) <= 80
    for name in KINDS[kind]:
        assert re.search(rf"^{name}\n    \S", shown, re.MULTILINE), name


def test_a_command_in_a_report_has_no_path_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out, shown in (
        (Path("/somewhere/else/vae"), "vae"),
        (tmp_path / "runs" / "vae", "runs/vae"),
        (Path("../vae"), "../vae"),
    ):
        command = command_of("train", TrainConfig(out=out))
        assert command == f"python -m experiments.train --out {shown}"


def test_a_kind_that_there_is_not_names_the_others():
    shown = run("experiments.train", "--list", "model")
    assert shown.returncode == 2
    assert "did you mean 'models'" in shown.stderr
    assert "regularizers" in shown.stderr
    shown = run("experiments.train", "--list")
    assert shown.returncode == 0
    assert "regularizers" in shown.stdout


def test_lines_stand_in_for_a_bar_off_a_terminal(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.progress_bar("training", 100, "epochs") as update:
        update(0, progress.COMPILING)
        for done in range(1, 101):
            now += 0.5 if done <= 50 else 20.0
            update(done, "fast")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 0/100 epochs, compiling"
    tenths = [line for line in lines[1:] if " 10/100" in line or " 50/100" in line]
    assert tenths == [
        "training: 10/100 epochs, fast, 45 s left",
        "training: 50/100 epochs, fast, 25 s left",
    ]
    # Slower, a line comes with every tenth and at least every 40 s, two updates.
    assert [int(line.split()[1].split("/")[0]) for line in lines[-5:]] == [
        *(92, 94, 96, 98, 100)
    ]
    assert len(lines) == 1 + 5 + 25


def test_lines_without_news_are_not_printed(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.progress_bar("training", 2, "epochs") as update:
        update(0, progress.COMPILING)
        for done, note in ((0.0, ""), (0.1, ""), (0.2, ""), (1, "fast")):
            now += 40
            update(done, note)
    assert capsys.readouterr().err.splitlines() == [
        "training: 0/2 epochs, compiling",
        "training: 0/2 epochs, 720 s left",
        "training: 1/2 epochs, fast, 89 s left",
    ]


def test_a_quick_run_prints_no_lines(capsys):
    with progress.progress_bar("training", 10, "epochs") as update:
        for done in range(11):
            update(done)
    assert capsys.readouterr().err == ""


def test_a_run_of_nothing_prints_no_lines(capsys):
    """A comparison in which every cell is refused is such a run."""
    with progress.progress_bar("gradients", 0, "cells") as update:
        update(0, progress.COMPILING)
    assert capsys.readouterr().err == ""
