"""Training: state, step, loop, checkpoints."""

from typing import Any

from vaejax.training.batches import steps_per_epoch
from vaejax.training.encoder_first import encoder_first
from vaejax.training.fit import EpochReport, NonFiniteError, fit
from vaejax.training.seeds import of_seed, several_seeds
from vaejax.training.state import TrainState, init_state
from vaejax.training.step import (
    Totals,
    check_parts,
    default_micro_batch_size,
    make_step,
    run_steps,
    zero_totals,
)

__all__ = [
    "EpochReport",
    "NonFiniteError",
    "Totals",
    "TrainState",
    "check_parts",
    "default_micro_batch_size",
    "encoder_first",
    "fit",
    "init_state",
    "make_step",
    "of_seed",
    "restore",
    "run_steps",
    "save",
    "several_seeds",
    "steps_per_epoch",
    "zero_totals",
]


def __getattr__(name: str) -> Any:
    """Import `save` and `restore` when asked for: orbax takes a second to import."""
    if name not in ("save", "restore"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vaejax.training import checkpoints

    return getattr(checkpoints, name)
