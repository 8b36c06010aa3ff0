"""The settings of every test: the platform, strict arrays, checked shapes.

Runs before any test module is imported, which is when the settings must be made.
"""

import gc
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

# The experiments run from the checkout, and in processes of other folders too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # read when jax is first imported
# Compiled programs are neither taken from the user's cache nor left there.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
# Instructions must not know their lines of Python: where calls in a loop's body stay
# calls, as below, XLA 0.10 may follow a frame's parents for ever.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
# The tests compile much and run little: XLA need not optimize machine code for them.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    # What is called often is compiled once, not once for every call.
    + " --xla_disable_hlo_passes=call-inliner"
    # Each worker has a core of its own: a program in parts costs more, not less, time.
    + " --xla_cpu_parallel_codegen_split_count=1"
    # XLA aborts at a flag that its version lacks.
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)

import checked_shapes
import hypothesis
import jax
import jaxtyping
import pytest

# Tracing makes millions of objects that are no cycles: collect less often.
gc.set_threshold(200_000, 20, 20)

# [B] + [B, 1] broadcasts silently to [B, B]; here it raises.
jax.config.update("jax_numpy_rank_promotion", "raise")

# The shapes in the signatures of vaejax are checked at every call.
jaxtyping.jaxtyped = checked_shapes.jaxtyped_once  # which the hook calls
jaxtyping.install_import_hook("vaejax", "beartype.beartype")

# Compilation makes first calls slow, and a failure must be the same on every machine.
hypothesis.settings.register_profile("vaejax", deadline=None, derandomize=True)
hypothesis.settings.load_profile("vaejax")


def pytest_configure(config: pytest.Config) -> None:
    """Stop at once if distrax does not import: everything after would fail for it."""
    try:
        import distrax  # noqa: F401
    except Exception as error:  # a broken dependency may raise anything
        pytest.exit(
            f"distrax does not import ({type(error).__name__}: {error}): this jax and "
            "this tfp-nightly do not fit together; run 'make clean' and 'make test' "
            "for the pinned versions, or 'pip install -U tfp-nightly distrax'.",
            returncode=2,
        )


MAPPINGS = Path("/proc/self/maps")  # a line each; Linux allows a process 65,530
MOST_MAPPINGS = 20_000


@pytest.fixture(autouse=True)
def _forget_compiled_programs() -> Iterator[None]:
    """Every program that XLA compiles stays mapped: forget them before none fits."""
    yield
    if MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()


@pytest.fixture
def untyped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments are not checked for their types, as for users."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def _folder(variable: str, what: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"needs {what}: set {variable}")
    return Path(os.environ[variable])


@pytest.fixture(scope="session")
def prepared_dir() -> Path:
    """The folder of prepared data sets; a test without one is skipped."""
    return _folder("TFDS_DATA_DIR", "prepared data sets")


@pytest.fixture(scope="session")
def raw_dir() -> Path:
    """The folder of raw data files; a test without one is skipped."""
    return _folder("VAEJAX_RAW_DIR", "raw data files")
