"""Checks that arrays fit into memory before they are computed.

XLA ends the process where a size overflows, and Linux where memory runs out: neither
raises an error in Python.
"""

import math
import os
from collections.abc import Callable, Mapping

import jax

from vaejax.core.errors import VaejaxError
from vaejax.core.model import Model
from vaejax.core.values import Params, PyTree

MOST = 2**31 - 1  # numbers of an array, as an int32 counts them
NUMBER = 4  # bytes of a float32, the smallest type of number


def check_fits(what: str, make: Callable[[], PyTree], *, copies: int = 1) -> None:
    """Refuse arrays that do not fit into memory; `make` is traced, not run.

    Args:
        what: names the arrays in the message.
        make: returns them.
        copies: how many of each there will be.

    Raises:
        VaejaxError: they do not fit.
    """
    arrays = jax.tree.leaves(jax.eval_shape(make))
    needed = copies * sum(math.prod(a.shape) * a.dtype.itemsize for a in arrays)
    if needed > (there := memory_bytes()):
        raise VaejaxError(
            f"{what} would take {needed / 2**30:,.1f} GiB, and the memory has "
            f"{there / 2**30:,.1f} GiB: lower the numbers of units, latents, "
            "examples or seeds"
        )


def check_product(asked: Mapping[str, int], each: int = 1) -> None:
    """Refuse settings whose product is more numbers than a program can hold at once.

    The program's largest array has at least this product of entries, so the check
    refuses nothing that could be computed.

    Args:
        asked: the settings by name, in the order of the product.
        each: numbers of one sample of one example, of all draws at a time.

    Raises:
        VaejaxError: they are too many for an array, or for the memory.
    """
    numbers = each * math.prod(asked.values())
    there = memory_bytes()
    if numbers < MOST and NUMBER * numbers <= there:
        return
    words = " x ".join(f"{name} {value:,}" for name, value in asked.items())
    raise VaejaxError(
        f"{words}, {each:,} numbers each, would hold {numbers:,} numbers at once "
        f"({NUMBER * numbers / 2**30:,.1f} GiB); an array has fewer than {MOST:,}, and "
        f"the memory {there / 2**30:,.1f} GiB: lower {' or '.join(asked)}"
    )


def sample_size(model: Model, params: Params, y: jax.Array | None = None) -> int:
    """The size of one sample: that of z or of the observation, whichever is larger."""

    def sample(params: Params) -> tuple[PyTree, PyTree]:
        z = model.latent_prior.sample(jax.random.key(0), model.prior(params, y))
        return z, model.decode(params, z, y)

    z, decoded = jax.eval_shape(sample, params)
    return max(1, *(math.prod(leaf.shape) for leaf in jax.tree.leaves((z, decoded))))


def memory_bytes() -> int:
    """The memory of JAX's first device in bytes; for a CPU, that of the machine."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or host_bytes()


def host_bytes() -> int:
    """The memory of the machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
