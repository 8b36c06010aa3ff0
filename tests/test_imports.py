"""Imports go one way, and each third-party layer has one home.

    core, ops, progress, sharding <- terms, families, bounds, nets, data
        <- estimators, priors, models, regularizers, kl_weights
        <- problems, returns, compatibility, objective
        <- exact, expected_bound, benchmark, evaluation, training <- trained
        <- plotting, experiments <- notebooks

vaejax.benchmark.table alone imports plotting, when a table draws itself.
"""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

STAGES = [
    {"vaejax.core", "vaejax.ops", "vaejax.progress", "vaejax.sharding"},
    {"vaejax.terms", "vaejax.families", "vaejax.bounds", "vaejax.nets", "vaejax.data"},
    {
        *("vaejax.estimators", "vaejax.priors", "vaejax.models"),
        *("vaejax.regularizers", "vaejax.kl_weights"),
    },
    {"vaejax.problems", "vaejax.compatibility", "vaejax.objective", "vaejax.returns"},
    {
        *("vaejax.exact", "vaejax.expected_bound"),
        *("vaejax.benchmark", "vaejax.evaluation", "vaejax.training"),
    },
    {"vaejax.trained"},
    {"vaejax"},  # __init__.py, which names what the others export
    {"experiments", "vaejax.plotting"},
]
STAGE = {unit: number for number, units in enumerate(STAGES) for unit in units}

# Units that import less than their stage allows.
ONLY = {
    "vaejax.data": {"vaejax.core", "vaejax.ops"},
    "vaejax.plotting": {"vaejax.core", "vaejax.benchmark"},
}

# A table draws itself when it is asked to; nothing else of the library does.
DRAWS = "vaejax.benchmark.table"

# Third-party packages that live in one unit and nowhere else (None: nowhere at all).
HOMES = {
    "flax": "vaejax.nets",
    "distrax": "vaejax.families",
    "tensorflow_datasets": "vaejax.data",
    "tensorflow": None,
}


def modules(root: Path) -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for package in ("vaejax", "experiments"):
        for path in (root / package).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(p for p in parts if p != "__init__")] = path
    return found


def imports(path: Path, ours: set[str]) -> set[str]:
    """The imports of a file, at any depth, `from` imports too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                names.add(submodule if submodule in ours else str(node.module))
    return names


def unit(module: str) -> str:
    """The part of the architecture a module is in: vaejax.models of vaejax.models.x."""
    first, *rest = module.split(".")
    return ".".join([first, *rest[:1]]) if first == "vaejax" else first


def violations(root: Path) -> list[str]:
    paths = modules(root)
    graph = {name: imports(path, set(paths)) for name, path in paths.items()}
    problems = [
        f"{name} has no place in STAGES" for name in paths if unit(name) not in STAGE
    ]
    for name, target in ((n, t) for n in graph for t in graph[n]):
        a, b = unit(name), unit(target)
        package = target.partition(".")[0]
        if package in HOMES and a != HOMES[package]:
            problems.append(f"{name} imports {target}")
        if a == b or a not in STAGE or b not in STAGE:
            continue
        backwards = STAGE[b] > STAGE[a]
        beyond = b not in ONLY.get(a, STAGE)
        if name == DRAWS and b == "vaejax.plotting":
            continue
        figures = b == "vaejax.plotting" and a != "experiments"
        if backwards or beyond or figures:
            problems.append(f"{name} imports {target}")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        problems.append(f"cycle: {' <- '.join(error.args[1])}")
    return problems


def test_imports_go_one_way():
    assert "vaejax.core" in modules(ROOT)
    assert violations(ROOT) == []


LEGAL = {
    "vaejax/__init__.py": "from vaejax.bounds import BOUNDS",
    "vaejax/bounds.py": "import vaejax.core",
    "vaejax/benchmark.py": "import vaejax.exact",
    "vaejax/nets.py": "from flax import nnx",
    "vaejax/objective.py": "import vaejax.core",
    "vaejax/plotting/__init__.py": "import matplotlib",
    "vaejax/terms.py": "import vaejax.core",
    "experiments/demo.py": "import vaejax.plotting\nfrom vaejax import BOUNDS",
}


def violations_with(root: Path, file: str, text: str) -> list[str]:
    """The violations of a small legal tree after one file is planted in it."""
    for name, content in (LEGAL | {file: text}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return violations(root)


def test_a_legal_tree_passes(tmp_path):
    assert violations_with(tmp_path, "vaejax/core.py", "import jax") == []


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("vaejax.core", "vaejax.bounds"),
        ("vaejax.bounds", "vaejax"),
        ("vaejax.models.vae", "vaejax.objective"),
        ("vaejax.exact", "experiments.demo"),
        ("vaejax.data.mnist", "vaejax.terms"),
        ("vaejax.plotting.curves", "vaejax.bounds"),
        ("vaejax.training.epoch", "vaejax.plotting"),
        ("vaejax.models.vae", "flax"),
        ("vaejax.terms", "distrax"),
        ("vaejax.core", "tensorflow_datasets"),
        ("vaejax.data.mnist", "tensorflow"),
    ],
)
def test_a_planted_import_is_caught(tmp_path, module, target):
    file = module.replace(".", "/") + ".py"
    assert f"{module} imports {target}" in violations_with(
        tmp_path, file, f"import {target}"
    )


def test_an_import_inside_a_function_is_caught(tmp_path):
    text = "def f():\n    from vaejax import objective"
    found = violations_with(tmp_path, "vaejax/models/vae.py", text)
    assert found == ["vaejax.models.vae imports vaejax.objective"]


def test_a_cycle_within_a_stage_is_caught(tmp_path):
    text = "import vaejax.benchmark"
    (found,) = violations_with(tmp_path, "vaejax/exact.py", text)
    assert found.startswith("cycle: ")


def test_a_module_that_the_architecture_does_not_place_is_caught(tmp_path):
    found = violations_with(tmp_path, "vaejax/misc.py", "")
    assert found == ["vaejax.misc has no place in STAGES"]


# Packages that take long to import, in the order in which they may come.
JAX = {"jax", "numpy", "scipy", "flax", "optax", "distrax"}
CHECKPOINTS = {"orbax"}
DATA_AND_FIGURES = {
    *("tensorflow", "tensorflow_datasets", "array_record", "matplotlib", "PIL"),
    *("pandas", "pyarrow", "sklearn", "scipy.stats", "scipy.optimize"),
}
NOTEBOOK = "; ".join(
    ["import vaejax", "vaejax.fit", "vaejax.compare_estimators", "vaejax.models"]
)
COMMAND = """
import runpy
sys.argv = ["-m", {word!r}]
try:
    runpy.run_module("experiments.train", run_name="__main__")
except SystemExit as ended:
    assert ended.code == {code}
"""


@pytest.mark.parametrize(
    ("program", "needed", "left_alone"),
    [
        ("import vaejax", "vaejax", JAX | CHECKPOINTS | DATA_AND_FIGURES),
        (NOTEBOOK, "vaejax.training.fit", CHECKPOINTS | DATA_AND_FIGURES),
        ("from vaejax import *", "vaejax.trained.loading", DATA_AND_FIGURES),
        (
            COMMAND.format(word="--help", code=0),
            "experiments.training.config",
            JAX | CHECKPOINTS | DATA_AND_FIGURES,
        ),
        *(
            (
                COMMAND.format(word=word, code=2),
                "experiments.training.config",
                JAX | CHECKPOINTS | DATA_AND_FIGURES,
            )
            for word in ("--epoch", "--dataset=mnsit", "--regularizers=mmmd")
        ),
    ],
    ids=["package", "notebook", "all", "help", "flag", "name", "names"],
)
def test_slow_packages_wait_until_they_are_needed(program, needed, left_alone):
    code = (
        f"import sys\n{program}\n"
        f"assert {needed!r} in sys.modules\n"
        f"print(sorted({left_alone} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.check_output(command, cwd=ROOT, text=True)
    assert shown.splitlines()[-1] == "[]"


def test_every_name_that_pages_and_messages_use_is_there_after_import_vaejax():
    """One process asks for all; `dir` tells what is there before the first import."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    texts = [page.read_text() for page in pages] + [
        node.value
        for path in ROOT.glob("vaejax/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    names = {
        name for text in texts for name in re.findall(r"\bvaejax((?:\.\w+)+)", text)
    }
    assert {".bounds", ".sharding.training_mesh", ".data.PROTOCOLS"} <= names
    code = (
        "import pkgutil, vaejax\n"
        "first = {*dir(vaejax), 'plotting'}\n"  # which `import *` leaves out
        f"for name in {sorted(names)}:\n"
        "    assert name.split('.')[1] in first, name\n"
        "    pkgutil.resolve_name(f'vaejax{name}')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
