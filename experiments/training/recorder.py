"""The record of a training: a line of metrics.jsonl per epoch, and states to resume."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import metric_rows, run_folder, run_lock, run_settings
from experiments.training import processes
from experiments.training.choosing import Epoch
from experiments.training.chosen import Choice, evaluated
from experiments.training.run import Run
from experiments.training.validation import means, training_metrics, validation_metrics
from vaejax.core import VaejaxError
from vaejax.training import EpochReport, NonFiniteError, Totals, TrainState, checkpoints

Watcher = Callable[[Epoch, TrainState], None]


class PatienceEndedError(Exception):
    """The last of the epochs without improvement that `--patience` allows is done."""

    def __init__(self, state: TrainState) -> None:
        super().__init__()
        self.state = state


class Recorder:
    """The record of a training: rows of its epochs, states to resume from.

    Process 0 alone writes; all processes agree on when.
    """

    def __init__(
        self,
        run: Run,
        watchers: Sequence[Watcher],
        rows: list[Epoch],
        saved_step: int,
    ) -> None:
        """Begin metrics.jsonl with the rows that belong to the state saved last.

        Later lines belong to epochs that are repeated.
        """
        self._config, self._watchers = run.config, watchers
        self._selection = run.selection
        self._has_validation = run.data.validation is not None
        if self._has_validation:
            self._measure = validation_metrics(run)
        elif run.config.on_nonfinite == "stop":
            self._measure = training_metrics(run)
        else:  # the training split may hold examples that are skipped
            self._measure = lambda state: {}
        self.choice = Choice(run, rows)
        self._folder = run.config.out / "checkpoints"
        self._is_first = processes.is_first()
        self.rows = rows
        self._saved_step, self._saved_at = saved_step, time.monotonic()
        self._epoch_before: tuple[TrainState, list[Epoch]] | None = None
        if self._is_first:
            metric_rows.write_rows(run.config.out, rows)

    def save(self, state: TrainState, totals: Totals | None, rows: list[Epoch]) -> None:
        """Save a state with all that a resumed run needs, unless it is saved."""
        if self._is_first and int(state.step) != self._saved_step:
            extra = {
                "totals": _write_totals(totals),
                "rows": rows,
                "settings": run_settings.settings_of(self._config),
            }
            run_lock.check_held(self._config.out)
            self.choice.save(state)
            checkpoints.save(self._folder, state, extra)
            run_folder.saved(self._config.out)
        self._saved_step, self._saved_at = int(state.step), time.monotonic()

    def on_epoch(self, report: EpochReport) -> str:
        """Keep an epoch's row, hand it to the watchers, and return a note of progress.

        Raises:
            VaejaxError: the bound is not finite, or a watcher fails.
        """
        measured = self._measure(evaluated(report.state))
        if not all(np.isfinite(values).all() for values in measured.values()):
            self._refuse(int(report.state.step))
        validation = measured if self._has_validation else {}
        row: Epoch = {
            "epoch": report.epoch,
            "step": int(report.state.step),
            "skipped": int(report.state.skipped),
            "train": _finite_or_none(report.metrics),
            "validation": means(validation) if validation else None,
            "images_per_second": report.num_images / report.seconds,
            "compile_seconds": report.compile_seconds,
        }
        if self._config.num_seeds > 1 and validation:
            row["validation_by_seed"] = {k: v.tolist() for k, v in validation.items()}
        self.rows = [*self.rows, row]
        self.choice.take(self.rows, report.state)
        if not self._saved_step:  # so that no epoch is ever without a state
            self.save(report.state, None, self.rows)
        if self._is_first:
            metric_rows.append_row(self._config.out, row)
            self._watch(row, report.state)
        self._epoch_before = jax.device_get(report.state), self.rows
        speed = f"{row['images_per_second']:,.0f} images/s"
        return f"{speed}, bound {report.metrics['bound']:.2f}"

    def on_dispatch(
        self, state: TrainState, totals: Totals, interrupted: Callable[[], bool]
    ) -> None:
        """Save the state if a checkpoint is due.

        Raises:
            KeyboardInterrupt: the run is interrupted, in any process.
            PatienceEndedError: no epoch follows.
        """
        config, rows = self._config, self.rows
        over = self._selection.is_over(rows)
        if (
            over
            or len(rows) == config.epochs
            or time.monotonic() - self._saved_at > config.checkpoint_seconds
            or (config.checkpoint_steps and state.step % config.checkpoint_steps == 0)
        ):
            self.save(state, totals, rows)
        if processes.any_process(interrupted()):
            self.save(state, totals, rows)
            raise KeyboardInterrupt
        if over:
            raise PatienceEndedError(state)

    def stopped(self, error: NonFiniteError) -> VaejaxError:
        """Save the last good state; return the error for a step that was not finite."""
        self.save(error.state, error.totals, self.rows)
        skips = self._config.on_nonfinite == "skip"
        remedy = "a larger --max-skipped" if skips else "--on-nonfinite skip"
        if self._saved_step == 0:
            return VaejaxError(f"{error}, by {remedy}")
        return VaejaxError(
            f"{error}. The last good state is in {self._folder}: continue from it "
            f"with --resume {remedy}, or start anew with --overwrite"
        )

    def _refuse(self, step: int) -> NoReturn:
        """Save the state of the epoch before, and raise for this epoch's state."""
        before = self._epoch_before
        if before is not None and before[0].step > self._saved_step:
            self.save(before[0], None, before[1])
        kept = (
            f"The last good state is in {self._folder}; start anew with --overwrite"
            if self._saved_step
            else "There is no good state to go on from"
        )
        raise VaejaxError(
            f"the bound is not finite after step {step}: lower the learning rate. "
            f"{kept}"
        )

    def _watch(self, row: Epoch, state: TrainState) -> None:
        try:
            for watch in self._watchers:
                watch(row, state)
        except Exception as error:  # such as a full disk
            self.save(state, None, self.rows)
            raise VaejaxError(
                f"the output of metrics failed after step {row['step']} ({error}). "
                f"The state is in {self._folder}: use --resume without the option "
                "that failed, or with free space on the disk"
            ) from error


def _write_totals(totals: Totals | None) -> dict[str, Any] | None:
    """The sums as JSON, which holds a float exactly."""
    if totals is None:
        return None
    return jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), totals._asdict())


def read_totals(saved: dict[str, Any] | None) -> Totals | None:
    """The sums that `_write_totals` made JSON of."""
    if saved is None:
        return None
    metrics = {
        name: jnp.asarray(total, float) for name, total in saved["metrics"].items()
    }
    return Totals(steps=jnp.int32(saved["steps"]), metrics=metrics)


def _finite_or_none(metrics: dict[str, float]) -> dict[str, float | None]:
    """The metrics, with None if no step was applied, as JSON has no NaN."""
    return {k: value if math.isfinite(value) else None for k, value in metrics.items()}
