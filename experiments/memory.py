"""Whether what is asked for fits into memory, known before any of it is computed."""

import math
from collections.abc import Callable

import jax

from experiments.machine import memory_bytes
from vaejax.core import PyTree, VaejaxError


def check_fits(what: str, make: Callable[[], PyTree], *, copies: int = 1) -> None:
    """Refuse arrays that there is no memory for; `make` is traced, and not run.

    XLA ends the process where a size overflows, and Linux where memory runs out: no
    error of either reaches Python.

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
            f"{there / 2**30:,.1f}: lower the numbers of units, latents, examples or "
            "seeds"
        )
