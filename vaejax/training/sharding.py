"""Many devices: one program, its inputs laid out over a mesh.

The mesh has two axes. Batches are divided over `data`; the importance samples of every
example over `samples`, which is 1 unless asked for. Parameters, optimizer, estimator
state and the resident data set are on every device. XLA divides the work from where the
inputs lie and adds the sums over devices: the program is the same on one device and on
many. Keys are folded from global indices, so results agree to rounding.

Across processes (`jax.distributed`) the mesh spans the devices of all of them, as many
of each; every process calls the same functions with the same values.
"""

from collections.abc import Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from vaejax.core import SAMPLES, VaejaxError

DATA = "data"

T = TypeVar("T")


def device_mesh(
    batch_size: int,
    *,
    sample_devices: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """As many devices as divide the batch evenly, of every process as many.

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
            "devices: use a divisor of their number"
        )
    by_process: dict[int, list[jax.Device]] = {}
    for device in devices:
        by_process.setdefault(device.process_index, []).append(device)
    for each in range(min(map(len, by_process.values())), 0, -1):
        chosen = [device for own in by_process.values() for device in own[:each]]
        size, rest = divmod(len(chosen), sample_devices)
        if rest == 0 and batch_size % size == 0:
            return jax.make_mesh(
                (size, sample_devices),
                (DATA, SAMPLES),
                axis_types=(AxisType.Auto, AxisType.Auto),
                devices=chosen,
            )
    raise VaejaxError(
        f"{batch_size} examples cannot be divided evenly over {len(by_process)} "
        "processes: use a batch size (and micro-batch size) that they divide"
    )


def replicate(mesh: Mesh, tree: T) -> T:
    """Put the whole of every leaf on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard_rows(
    mesh: Mesh, indices: Int[np.ndarray | Array, "steps B"]
) -> Int[Array, "steps B"]:
    """Divide every step's examples over the devices."""
    return jax.device_put(indices, NamedSharding(mesh, PartitionSpec(None, DATA)))


def local(tree: T) -> T:
    """What is on every device, on one of this process's: nothing is copied."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
