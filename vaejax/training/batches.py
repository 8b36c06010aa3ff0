"""The batches of a training: consecutive rows of an endless stream of passes."""

import numpy as np
from jaxtyping import Int

from vaejax.core import VaejaxError


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """The number of steps that visit every example about once: ceil(N / B).

    Raises:
        VaejaxError: a batch larger than the data, which would hold an example twice.
    """
    if batch_size > num_examples:
        raise VaejaxError(
            f"batch_size is {batch_size}, and there are only {num_examples} training "
            "examples: use a smaller batch_size"
        )
    return -(-num_examples // batch_size)


def batch_indices(
    num_examples: int, batch_size: int, start_step: int, num_steps: int, seed: int
) -> Int[np.ndarray, "steps B"]:
    """The examples of some steps: consecutive rows of an endless stream of passes.

    Every pass visits every example once, in a new order; a batch may hold the end of
    one pass and the start of the next, so no example is lost and all batches are full.
    """
    positions = np.arange(
        start_step * batch_size, (start_step + num_steps) * batch_size, dtype=np.int64
    )
    passes, offsets = np.divmod(positions, num_examples)
    indices = np.empty(len(positions), np.int32)
    for number in np.unique(passes):
        order = np.random.default_rng((seed, number)).permutation(num_examples)
        indices[passes == number] = order[offsets[passes == number]]
    return indices.reshape(num_steps, batch_size)
