"""The folder chosen/ of a run: the parameters to evaluate, apart from a checkpoint.

The folder is written where the parameters to evaluate are not those of the last
checkpoint: they are the best epoch's, or averages. It holds no optimizer's state. It is
written before each checkpoint and keeps what the checkpoint before needs, so that a run
that is killed at any point goes on to the same choice.
"""

import jax
import numpy as np
from jaxtyping import Bool

from experiments.training.choosing import Epoch
from experiments.training.run import Run
from vaejax.core import PyTree
from vaejax.training import TrainState, checkpoints, init_state
from vaejax.training.averaging import evaluated_params
from vaejax.training.optimizers import SCHEDULE_FREE


def evaluated(state: TrainState) -> TrainState:
    """The state to evaluate: averaged parameters where there are any, no optimizer."""
    params = evaluated_params(state.opt_state, state.params)
    return state._replace(params=params, opt_state=())


class Choice:
    """The parameters that a training keeps, as its epochs go by."""

    def __init__(self, run: Run, rows: list[Epoch]) -> None:
        """Go on from the choice that belongs to these rows."""
        self._folder = run.config.out / "chosen"
        self._selection = run.selection
        averages = run.config.ema is not None or run.config.optimizer in SCHEDULE_FREE
        self._is_apart = run.selection.by_validation or averages
        self._best: TrainState | None = None
        self._saved_step = -1
        if run.selection.by_validation and rows:
            self._saved_step = max(row["step"] for row in run.selection.best_rows(rows))
            self._best = load_chosen(run, self._saved_step)

    def take(self, rows: list[Epoch], state: TrainState) -> None:
        """Keep the parameters of the seeds for which the last row is the best."""
        if not self._selection.by_validation:
            return
        now = jax.device_get(evaluated(state))
        is_best = np.array([row is rows[-1] for row in self._selection.best_rows(rows)])
        if is_best.all() or self._best is None:
            self._best = now
        elif is_best.any():
            kept = self._best
            self._best = now._replace(
                params=_where(is_best, now.params, kept.params),
                loss_state=_where(is_best, now.loss_state, kept.loss_state),
            )

    def of(self, state: TrainState) -> TrainState:
        """The state to evaluate when training is at `state`."""
        return evaluated(state) if self._best is None else self._best

    def save(self, state: TrainState) -> None:
        """Write chosen/ before a checkpoint of `state`, unless that has it all."""
        if not self._is_apart or (self._selection.by_validation and self._best is None):
            return
        chosen = self.of(state)
        if int(chosen.step) != self._saved_step:
            checkpoints.save(self._folder, chosen)
            self._saved_step = int(chosen.step)


def load_chosen(run: Run, step: int | None = None) -> TrainState:
    """The state that the run keeps to be evaluated.

    Args:
        run: that has saved a state.
        step: of chosen/; None is the last.
    """
    like = init_state(run.objective, run.optimizer, run.keys.train)
    chosen, out = run.config.out / "chosen", run.config.out
    if step is None and checkpoints.latest(chosen) is None:
        return evaluated(checkpoints.restore(out / "checkpoints", like)[0])
    return checkpoints.restore(chosen, like._replace(opt_state=()), step)[0]


def _where(is_new: Bool[np.ndarray, " seeds"], new: PyTree, old: PyTree) -> PyTree:
    """The arrays of some seeds from `new`, and of the others from `old`."""

    def pick(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(is_new.reshape(-1, *[1] * (np.ndim(a) - 1)), a, b)

    return jax.tree.map(pick, new, old)
