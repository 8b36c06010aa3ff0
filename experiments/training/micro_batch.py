"""The number of examples per gradient: as many as a cache and the memory hold."""

import jax
import jax.numpy as jnp

from experiments.training.run import Run
from vaejax.core import VaejaxError
from vaejax.sharding import DATA, SAMPLES
from vaejax.training import check_parts, default_micro_batch_size
from vaejax.training.memory import gradient_bytes


def choose_micro_batch_size(run: Run) -> int | None:
    """Examples per gradient: as requested, or as fit a device's cache and memory.

    Raises:
        VaejaxError: what was asked for, or one example, does not fit the budget; a
            batch that is not to be cut up.
    """
    config, mesh = run.config, run.mesh
    shares, sample_shares = mesh.shape[DATA], mesh.shape[SAMPLES]
    max_bytes = config.memory_budget * 2**20

    def share_bytes(size: int) -> int:
        alike = jax.tree.map(
            lambda leaf: jnp.zeros((size, *leaf.shape[1:]), leaf.dtype), run.data.test
        )
        return gradient_bytes(run.objective, alike) // sample_shares

    check_parts(run.objective, config.batch_size, config.micro_batch_size)
    # Batch-level terms compare the examples of a whole batch.
    whole = config.batch_size if run.objective.data.whole_batch else None
    asked = config.micro_batch_size or whole
    if asked is None:
        return shares * default_micro_batch_size(
            config.batch_size // shares,
            config.num_samples // sample_shares,
            example_bytes=share_bytes(1),
            max_bytes=max_bytes,
        )
    needed = share_bytes(asked) // shares
    if needed > max_bytes:
        remedy = "a smaller batch" if whole else "smaller micro-batches"
        raise VaejaxError(
            f"the gradient of {asked} examples needs about {needed / 2**20:,.0f} "
            f"MiB on a device, and the memory budget is {config.memory_budget:,} MiB: "
            f"raise the budget, or use {remedy} or fewer samples"
        )
    return config.micro_batch_size
