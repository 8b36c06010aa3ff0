"""Factories in files and modules of the user's, and when their code may be run."""

import hashlib
import sys

import pytest

from vaejax import BOUNDS, MODELS, VaejaxError, build
from vaejax.core import own_code

BOUND = """
import jax.numpy as jnp
from vaejax import Bound

def largest(scale: float = 1.0, power: "int" = 1, other=None) -> Bound:
    def aggregate(log_w):
        return scale * (log_w.max() - jnp.log(log_w.size))
    return Bound(name=f"largest_{scale}_{power}", aggregate=aggregate, relation="lower")

def nothing():
    return None

def broken():
    return 1 / 0
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file of the user's, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(BOUND)
    return path


@pytest.mark.parametrize("where", ["mine.py", "{}/mine.py", "./mine.py", "pack.mine"])
def test_a_factory_is_built_from_a_file_or_a_module(mine, monkeypatch, where):
    (mine.parent / "pack").mkdir()
    (mine.parent / "pack" / "mine.py").write_text(BOUND)
    monkeypatch.syspath_prepend(mine.parent)
    name = f"{where.format(mine.parent)}:largest"
    assert build(BOUNDS, name).name == "largest_1.0_1"
    assert build(BOUNDS, name, ["scale=2", "power=3"]).name == "largest_2.0_3"
    assert build(BOUNDS, name, scale=2.5).name == "largest_2.5_1"
    for module in ("pack", "pack.mine"):
        sys.modules.pop(module, None)


def test_a_file_is_executed_once_while_it_stays_as_it_is(mine):
    with mine.open("a") as file:
        file.write("\nwith open('count', 'a') as f:\n    f.write('x')\n")
    for _ in range(2):
        build(BOUNDS, "mine.py:largest")
    assert (mine.parent / "count").read_text() == "x"
    mine.write_text(mine.read_text().replace("largest_", "greatest_"))
    assert build(BOUNDS, "mine.py:largest").name == "greatest_1.0_1"


def test_a_part_of_a_model_may_be_the_users(mine):
    mine.write_text(
        "from vaejax.families import fixed_normal\n"
        "def narrow(scale: float = 0.1):\n    return fixed_normal(scale=scale)\n"
    )
    model = build(MODELS, "gaussian_mlp", ["likelihood=mine.py:narrow"])
    assert model.likelihood.name.startswith("fixed_normal")


MISTAKES = {
    "no such file": ("no.py:f", [], r"cannot read no.py \(No such file"),
    "no such module": ("no.such:f", [], "no module 'no.such': .*FILE.py:FACTORY"),
    "no such function": ("mine.py:large", [], "no factory 'large'.*'largest'.*broken"),
    "an imported name": ("mine.py:jnp", [], "no factory 'jnp'"),
    "no name": ("mine.py:", [], "'mine.py:' names no factory: write FILE.py:FACTORY"),
    "a space": ("my file.py:f", [], "'my file.py:f' names no factory"),
    "an unknown setting": ("mine.py:largest", ["a=1"], "no setting 'a'.*scale"),
    "another type": ("mine.py:largest", ["power=x"], "power='x' must be an integer"),
    "no annotation": (
        "mine.py:largest",
        ["other=1"],
        "other=1 must be annotated in its factory, as in other: int",
    ),
    "another record": ("mine.py:nothing", [], "must be a Bound, and is None"),
    "code that fails": (
        "mine.py:broken",
        [],
        r"mine.py, line 14, fails \(ZeroDivisionError: division by zero\): correct",
    ),
    "a registered name's settings": ("iwae:k", [], "'k' is not a setting: write name="),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mine, mistake):
    name, words, expected = MISTAKES[mistake]
    with pytest.raises(VaejaxError, match=expected) as caught:
        build(BOUNDS, name, words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(:", r"fails \(SyntaxError: invalid syntax \(mine.py, line 1\)"),
        ("x = 1\nimport nothing_here", "line 2, fails .ModuleNotFoundError"),
    ],
)
def test_a_file_that_cannot_be_executed_is_named_with_its_line(mine, text, expected):
    mine.write_text(text)
    with pytest.raises(VaejaxError, match=expected):
        build(BOUNDS, "mine.py:f")


@pytest.fixture
def run(mine):
    """The folder of a run that used the file, which is then gone."""
    folder = mine.parent / "run"
    own_code.keep(folder, '{"bound": "mine.py:largest", "settings": ["scale=2"]}')
    mine.unlink()
    return folder


def test_a_run_keeps_the_code_and_its_digest(run):
    copy = run / "code" / "mine.py"
    assert copy.read_text() == BOUND
    digest = hashlib.sha256(BOUND.encode()).hexdigest()
    assert (run / "code" / "SHA256SUMS").read_text() == f"{digest}  mine.py\n"


def test_settings_without_code_leave_no_copies(tmp_path):
    own_code.keep(tmp_path, '{"bound": "iwae", "kl_weight": ["linear:epochs=3"]}')
    assert list(tmp_path.iterdir()) == []


def test_the_code_of_a_run_is_run_if_it_is_trusted(run):
    with own_code.of_run(run), pytest.raises(VaejaxError, match="run names code"):
        build(BOUNDS, "mine.py:largest")
    with own_code.of_run(run, trust=True):
        assert build(BOUNDS, "mine.py:largest").name == "largest_1.0_1"
    with own_code.trusting(True), own_code.of_run(run):
        assert build(BOUNDS, "mine.py:largest").name == "largest_1.0_1"


@pytest.mark.parametrize(
    "name",
    ["os:system", "mine.py:largest", "subprocess:run", "../run/code/mine.py:largest"],
)
def test_no_name_in_a_file_is_run_unless_it_is_trusted(run, name):
    for context in (own_code.of_run(run), own_code.of_file(run / "config.json")):
        with context, pytest.raises(VaejaxError, match="names code to run"):
            build(BOUNDS, name)


def test_no_spelling_of_a_part_is_run_unless_it_is_trusted(run):
    for word in ("'os\\x3asystem'", "'os' ':system'", "os:system"):
        with own_code.of_run(run), pytest.raises(VaejaxError, match="names code"):
            build(MODELS, "gaussian_mlp", [f"likelihood={word}"])


def test_a_changed_copy_is_refused(run):
    copy = run / "code" / "mine.py"
    copy.write_text(BOUND + "# changed\n")
    with own_code.of_run(run, trust=True):
        with pytest.raises(VaejaxError, match=r"mine.py is not as the run left it"):
            build(BOUNDS, "mine.py:largest")
        digest = hashlib.sha256(copy.read_bytes()).hexdigest()
        (run / "code" / "SHA256SUMS").write_text(f"{digest}  mine.py\n")
        build(BOUNDS, "mine.py:largest")
        copy.unlink()
        with pytest.raises(VaejaxError, match=r"has lost its copy of mine.py"):
            build(BOUNDS, "mine.py:largest")


def test_a_run_does_not_go_on_with_changed_code(run, mine):
    mine.write_text(BOUND + "# changed\n")
    with pytest.raises(VaejaxError, match=r"mine.py is not as it was when the run in"):
        own_code.keep(run, "mine.py:largest")
    mine.write_text(BOUND)
    own_code.keep(run, "mine.py:largest")


def test_two_files_of_one_name_are_refused(mine):
    (mine.parent / "sub").mkdir()
    (mine.parent / "sub" / "mine.py").write_text("x = 1")
    with pytest.raises(VaejaxError, match=r"two different files are named mine.py"):
        own_code.keep(mine.parent / "run", '["mine.py:largest", "sub/mine.py:f"]')


def test_a_module_is_that_of_the_run(mine, monkeypatch):
    (mine.parent / "my_module.py").write_text(BOUND)
    monkeypatch.syspath_prepend(mine.parent)
    folder = mine.parent / "run"
    own_code.keep(folder, '"my_module:largest"')
    with own_code.of_run(folder, trust=True):
        build(BOUNDS, "my_module:largest")
        (mine.parent / "my_module.py").write_text(BOUND + "# changed\n")
        with pytest.raises(VaejaxError, match="the module my_module is not as it was"):
            build(BOUNDS, "my_module:largest")
    del sys.modules["my_module"]
