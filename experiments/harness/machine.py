"""The machine under the benchmark: its description and its matrix-product speed."""

import os
import platform
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.memory import host_bytes

SIZE = 2048
LINUX = hasattr(os, "sched_getaffinity")


def sgemm_flops_per_second(seconds: float) -> float:
    """The speed of JAX's float32 2048^3 matrix product: the attainable peak.

    This upper mark does not depend on published figures. It falls with the machine's
    load as the contestants' speeds do, so shares of it compare between machines.
    """
    product, a = _product()
    repeats, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        product(a, a).block_until_ready()
        repeats += 1
    return repeats * 2 * SIZE**3 / (time.perf_counter() - start)


@cache
def _product() -> tuple[Any, jax.Array]:
    product = jax.jit(partial(jnp.matmul, precision="float32"))
    a = jax.random.normal(jax.random.key(0), (SIZE, SIZE), jnp.float32)
    product(a, a).block_until_ready()
    return product, a


def describe_machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory, system and device of JAX."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if LINUX else os.cpu_count(),
        "memory_gigabytes": round(host_bytes() / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }


MAPPINGS = Path("/proc/self/maps")  # one per line; Linux allows a process 65,530
MOST_MAPPINGS = 20_000


def forget_programs() -> None:
    """Drop compiled programs before their mappings reach the limit of a process.

    A program keeps dozens of mappings, and a program that gets none aborts the process.
    Programs that are needed again are compiled again.
    """
    if MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()
