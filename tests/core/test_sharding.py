"""Many devices find what one finds, and share its work."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import jax
import known_weights
import numpy as np
import pytest
from eight_devices import EVALUATIONS, MEASURED, MOMENTS, TRAININGS, WEIGHTS
from jax.sharding import Mesh

from experiments import train
from vaejax import VaejaxError
from vaejax.sharding import evaluation_mesh, training_mesh

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
PATHS = f"{TESTS.parent}{os.pathsep}{TESTS}"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The values of eight devices and of fewer, by case and name."""
    # How many there are is settled before JAX starts: hence a process of its own.
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    out = tmp_path_factory.mktemp("devices") / "found.npz"
    subprocess.run(
        [sys.executable, str(TESTS / "eight_devices.py"), str(out)],
        env=os.environ | {"PYTHONPATH": PATHS, "XLA_FLAGS": flags},
        check=True,
        timeout=300,
    )
    with np.load(out) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("estimator", "mesh"),
    [(name, mesh) for name, (meshes, _) in TRAININGS.items() for mesh in meshes[1:]],
)
def test_any_mesh_trains_as_one_device_does(estimator, mesh, found):
    case, alone = f"{estimator} {mesh}", f"{estimator} 1"
    for name, tolerance in (("params", 2e-6), ("metrics", 2e-4), ("loss_state", 2e-4)):
        one, many = found[f"{alone} {name}"], found[f"{case} {name}"]
        assert np.isfinite(one).all()
        np.testing.assert_allclose(many, one, rtol=0, atol=tolerance)
    assert found[f"{case} traces"] == found[f"{alone} traces"]


def test_a_running_state_moves(found):
    assert np.abs(found["nvil 1 loss_state"]).max() > 0.1


@pytest.mark.parametrize(
    ("estimator", "mesh"),
    [(name, mesh) for name in MEASURED for mesh in TRAININGS[name][0][1:]],
)
def test_the_work_is_divided_and_the_state_is_whole(estimator, mesh, found):
    """A device has its share; all devices repeat the update and what samples share."""
    sizes = [int(size) for size in mesh.split("x")]
    share = found[f"{estimator} {mesh} flops"] / found[f"{estimator} 1 flops"]
    assert 0.9 / np.prod(sizes) < share < 1.1 / np.prod(sizes) + 0.1
    assert found[f"{estimator} {mesh} whole"]


@pytest.mark.parametrize(
    ("case", "num_devices"),
    [(case, number) for case, numbers in EVALUATIONS.items() for number in numbers[1:]],
)
def test_log_likelihoods_are_those_of_one_device(case, num_devices, found):
    count, num_samples = case

    def column(name, devices):
        return found[f"{count} {num_samples} {devices} {name}"]

    for name in ("log_px", "monte_carlo_error", "effective_sample_size", "pareto_k"):
        assert column(name, 1).shape == (count,)
        np.testing.assert_allclose(
            column(name, num_devices), column(name, 1), rtol=1e-4, atol=1e-4
        )
    assert column("done", num_devices)[-1] == count


@pytest.mark.parametrize("count", WEIGHTS)
def test_errors_keep_their_digits_over_devices(count, found):
    expected = known_weights.expected(999, known_weights.CASES[:count])
    for name, figures in expected.items():
        atol = 3e-5 if name == "log_px" else 1e-12
        np.testing.assert_allclose(
            found[f"weights {count} {name}"], figures, rtol=1e-4, atol=atol
        )


def test_the_moments_of_a_gradient_are_those_of_one_device(found):
    one, several = (f"moments {number}" for number in MOMENTS)
    assert found[f"{several} devices"] == MOMENTS[1]
    for name in ("mean", "variance"):
        alone = found[f"{one} {name}"]
        scale = np.abs(alone).max()
        assert scale > 1e-3
        np.testing.assert_allclose(
            found[f"{several} {name}"], alone, rtol=1e-4, atol=1e-5 * scale
        )


@pytest.fixture
def no_devices(monkeypatch):
    """Meshes of devices that do not exist."""

    def make_mesh(shape, axes, *, devices, **_):
        return Mock(spec=Mesh, shape=dict(zip(axes, shape, strict=True)), used=devices)

    monkeypatch.setattr(jax, "make_mesh", make_mesh)


def devices_of(processes):
    return [Mock(spec=jax.Device, process_index=process) for process in processes]


@pytest.mark.parametrize(
    ("batch", "samples", "processes", "shape", "used"),
    [
        (100, 1, [0] * 8, (5, 1), [0] * 5),
        (100, 1, [0] * 4, (4, 1), [0] * 4),
        (7, 1, [0] * 4, (1, 1), [0]),
        (100, 4, [0] * 8, (2, 4), [0] * 8),
        (3, 2, [0] * 8, (3, 2), [0] * 6),
        (100, 1, [0, 0, 0, 1, 1, 1], (4, 1), [0, 0, 1, 1]),
        (1, 4, [0, 0, 1, 1], (1, 4), [0, 0, 1, 1]),
    ],
)
def test_a_mesh_holds_the_most_devices_that_divide_the_batch(
    batch, samples, processes, shape, used, no_devices
):
    mesh = training_mesh(batch, sample_devices=samples, devices=devices_of(processes))
    assert tuple(mesh.shape.values()) == shape
    assert [device.process_index for device in mesh.used] == used


@pytest.mark.parametrize(
    ("batch", "samples", "processes", "message"),
    [
        (100, 3, [0] * 8, "divided over 3 of 8 devices: use a divisor"),
        (100, 0, [0] * 8, "divided over 0 of 8 devices: use a divisor"),
        (25, 1, [0, 1], "25 examples .* over 2 processes: use a batch size"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(
    batch, samples, processes, message, no_devices
):
    with pytest.raises(VaejaxError, match=message):
        training_mesh(batch, sample_devices=samples, devices=devices_of(processes))


@pytest.mark.parametrize(
    ("count", "total", "shape"), [(23, 8, (8, 1)), (3, 8, (2, 4)), (1, 6, (1, 6))]
)
def test_devices_without_an_example_of_their_own_share_samples(
    count, total, shape, no_devices
):
    assert (
        tuple(evaluation_mesh(count, devices_of([0] * total)).shape.values()) == shape
    )


@pytest.mark.parametrize(
    ("used", "total", "said"),
    [
        (1, 1, ""),
        (8, 8, " on 8 of 8 devices"),
        (5, 8, " on 5 of 8 devices, as many as divide them evenly"),
    ],
)
def test_a_run_says_which_devices_it_uses(used, total, said, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: total)
    assert train._on_devices(Mock(spec=Mesh, size=used)) == said
