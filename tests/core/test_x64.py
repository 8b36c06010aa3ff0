"""Under `jax_enable_x64` everything works too, in float64."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
PATHS = f"{TESTS.parent}{os.pathsep}{TESTS}"
# Tests that hold in either precision, beside those of float64 alone.
ALSO = (
    "training/test_training.py::test_an_interrupted_run_equals_an_uninterrupted_one_bit_for_bit",
    "models/test_m2.py::test_without_a_label_the_bound_is_the_papers_mixture_over_the_classes",
)


@pytest.mark.timeout(1800)  # dozens of tests in one
def test_the_lane_of_float64_passes():
    # JAX's precision is settled before anything is computed: a process of its own.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "x64_lane.py", *ALSO],
        cwd=TESTS,
        env=os.environ | {"JAX_ENABLE_X64": "1", "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
