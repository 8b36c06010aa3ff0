"""Many devices: one program, its inputs laid out over a mesh.

A mesh has two axes. Examples are divided over `data`, the importance samples of each of
them over `samples`. Parameters, optimizer, estimator state and the resident data set
are on every device. XLA divides the work by the inputs' layout and adds the sums over
devices: the program is the same on one device and on many. Keys are folded from global
indices, so results agree to rounding.

Across processes (`jax.distributed`) the mesh spans the devices of all processes, the
same number of each; every process calls the same functions with the same values.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vaejax.core import Event, PyTree, VaejaxError

DATA = "data"
SAMPLES = "samples"

T = TypeVar("T")


def training_mesh(
    batch_size: int,
    *,
    sample_devices: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """A mesh of as many devices as divide the batch, the same number per process.

    Args:
        batch_size: examples that are worked on at once: of a step or a micro-batch.
        sample_devices: over how many devices the samples of an example are divided; a
            divisor of their number.
        devices: to choose from (default: all).

    Returns:
        A mesh of `data` by `samples`.

    Raises:
        VaejaxError: `sample_devices` does not divide the number of devices, or the
            processes do not divide the batch.
    """
    devices = jax.devices() if devices is None else devices
    if sample_devices < 1 or len(devices) % sample_devices:
        raise VaejaxError(
            f"the samples cannot be divided over {sample_devices} of {len(devices)} "
            "devices: use a divisor of the number of devices"
        )
    by_process: dict[int, list[jax.Device]] = {}
    for device in devices:
        by_process.setdefault(device.process_index, []).append(device)
    for each in range(min(map(len, by_process.values())), 0, -1):
        chosen = [device for own in by_process.values() for device in own[:each]]
        size, rest = divmod(len(chosen), sample_devices)
        if rest == 0 and batch_size % size == 0:
            return _make_mesh(size, sample_devices, chosen)
    raise VaejaxError(
        f"{batch_size} examples cannot be divided evenly over {len(by_process)} "
        "processes: use a batch size (and micro-batch size) that the number of "
        "processes divides"
    )


def evaluation_mesh(
    num_examples: int, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """A mesh of all devices: examples first, and the rest for their samples."""
    devices = jax.devices() if devices is None else devices
    total = len(devices)
    size = max(n for n in range(1, min(num_examples, total) + 1) if total % n == 0)
    return _make_mesh(size, total // size, devices)


def _make_mesh(data: int, samples: int, devices: Sequence[jax.Device]) -> Mesh:
    return jax.make_mesh(
        (data, samples),
        (DATA, SAMPLES),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices,
    )


def put(tree: PyTree, mesh: Mesh, *axes: str | None) -> Any:
    """Lay every leaf out over the mesh: its axis i over the mesh's axis `axes[i]`.

    A leaf that no axis divides is on every device. All processes must give the same
    values.
    """
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put_own_part(leaf: Any) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = put_own_part(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        values = np.asarray(leaf)
        return jax.make_array_from_callback(
            values.shape, sharding, lambda index: values[index]
        )

    return jax.tree.map(put_own_part, tree)


def local(tree: T) -> T:
    """A tree that is on every device, on one device of this process, without a copy."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def sample_devices() -> int:
    """The number of devices that the current mesh (`jax.set_mesh`) gives to samples."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[SAMPLES] if SAMPLES in mesh.auto_axes else 1


def divide_samples(z: Event) -> Event:
    """K samples, divided over the current mesh's devices for samples.

    They are unchanged if K is not a multiple of the number of these devices.
    """
    devices, num_samples = sample_devices(), len(jax.tree.leaves(z)[0])
    if devices == 1 or num_samples % devices:
        return z
    return jax.lax.with_sharding_constraint(z, PartitionSpec(SAMPLES))
