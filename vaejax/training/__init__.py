"""Training: state, step, epoch, loop (checkpoints: `vaejax.training.checkpoints`)."""

from vaejax.training.fit import EpochReport, NonFiniteError, fit, steps_per_epoch
from vaejax.training.state import TrainState, init_state
from vaejax.training.step import default_micro_batch_size, make_step, run_epoch

__all__ = [
    "EpochReport",
    "NonFiniteError",
    "TrainState",
    "default_micro_batch_size",
    "fit",
    "init_state",
    "make_step",
    "run_epoch",
    "steps_per_epoch",
]
