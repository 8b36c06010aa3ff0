"""The training of a run: from the start or the last checkpoint to the last epoch.

The state is saved after the first epoch, at intervals, at the end, and when an
interruption or a loss that is not finite cuts the training short (see `recorder`). A
run resumed from a checkpoint equals an uninterrupted run, bit for bit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.harness import run_settings
from experiments.harness.interrupts import noted_interrupts
from experiments.harness.progress import COMPILING, progress_bar
from experiments.training import processes
from experiments.training.choosing import Epoch
from experiments.training.loss_terms import named_kl_weight
from experiments.training.recorder import (
    PatienceEndedError,
    Recorder,
    Watcher,
    read_totals,
)
from experiments.training.resume import more_epochs, say_if_longer
from experiments.training.run import Run
from experiments.training.starting_point import starting_state
from vaejax.core import Params
from vaejax.data import PROTOCOLS
from vaejax.training import (
    NonFiniteError,
    Totals,
    TrainState,
    checkpoints,
    fit,
    init_state,
    steps_per_epoch,
)


def train_to_end(
    run: Run,
    source: Params | None = None,
    *,
    micro_batch_size: int | None = None,
    watchers: Sequence[Watcher] = (),
) -> tuple[TrainState, dict[str, Any]]:
    """Train from the start or the last checkpoint; return what is kept, and figures.

    What is kept are the parameters of the last epoch, or of each seed's best one, in a
    state without an optimizer's.

    Args:
        run: what is trained.
        source: the parameters of another run that this one starts from, if it goes on
            from no checkpoint.
        micro_batch_size: examples per gradient; None: a batch.
        watchers: are handed every epoch's row and state.

    Raises:
        VaejaxError: a checkpoint of other settings, a loss that is not finite, or a
            watcher that fails; the last good state is saved.
        KeyboardInterrupt: the run was interrupted; its state is saved.
    """
    config, count = run.config, len(run.data.train.x)
    num_steps = steps_per_epoch(count, config.batch_size)
    state, totals, rows = _begin(run, source, num_steps)
    recorder = Recorder(run, watchers, rows, saved_step=int(state.step))
    if int(state.step) >= config.epochs * num_steps or run.selection.is_over(rows):
        return recorder.choice.of(state), _figures(run, recorder.rows)
    with (
        noted_interrupts() as interrupted,
        progress_bar("training", config.epochs, "epochs") as update,
    ):
        update(len(recorder.rows), COMPILING)

        def on_dispatch(state: TrainState, totals: Totals) -> None:
            compiled = None if recorder.rows else ""
            update(int(state.step) / num_steps, compiled)
            recorder.on_dispatch(state, totals, interrupted)

        try:
            state = fit(
                run.objective,
                run.optimizer,
                run.data.train,
                epochs=config.epochs,
                batch_size=config.batch_size,
                key=run.keys.train,
                observe=PROTOCOLS[run.data.protocol].sample,
                micro_batch_size=micro_batch_size,
                max_skipped=config.max_skipped if config.on_nonfinite == "skip" else 0,
                steps_per_dispatch=config.checkpoint_steps,
                state=state,
                totals=totals,
                mesh=run.mesh,
                on_dispatch=on_dispatch,
                on_epoch=lambda report: update(report.epoch, recorder.on_epoch(report)),
            )
        except NonFiniteError as error:
            raise recorder.stopped(error) from error
        except PatienceEndedError as end:
            state = end.state
    return recorder.choice.of(state), _figures(run, recorder.rows)


def _begin(
    run: Run, source: Params | None, num_steps: int
) -> tuple[TrainState, Totals | None, list[Epoch]]:
    """The state at which training starts or resumes, its epoch's sums, the rows before.

    A new state is at step 0, and a checkpoint is one that is saved.
    """
    config, folder = run.config, run.config.out / "checkpoints"
    newest = checkpoints.latest(folder) if config.resume else None
    processes.check_shared(f"the newest checkpoint in {folder}", newest)
    if newest is None:
        return starting_state(run, source), None, []
    like = init_state(run.objective, run.optimizer, run.keys.train)
    state, extra = checkpoints.restore(folder, like)
    before: Any = extra.get("settings")
    run_settings.check_types(before, type(config), folder)
    run_settings.check_settings(before, config, folder, more_epochs)
    step = int(state.step)
    if processes.is_first() and step < config.epochs * num_steps:
        say_if_longer(config, before["epochs"], step, num_steps)
    return state, read_totals(extra["totals"]), extra["rows"]


def _figures(run: Run, rows: list[Epoch]) -> dict[str, Any]:
    """The figures of the training in results.json."""
    last = rows[-1]
    return {
        "images_per_second": float(np.median([r["images_per_second"] for r in rows])),
        "compile_seconds": last["compile_seconds"],
        "epochs": len(rows),
        "steps": last["step"],
        "skipped": last["skipped"],
        "bound": last["train"]["bound"],
        "kl_weight": _remark(run, last["train"]),
        "beta": last["train"].get("beta"),
        "chosen": run.selection.chosen_epoch(rows),
    }


def _remark(run: Run, metrics: dict[str, float | None]) -> str | None:
    """The remark on the final KL weight; None if no step was applied."""
    epoch_steps = steps_per_epoch(len(run.data.train.x), run.config.batch_size)
    weight = named_kl_weight(run.config.kl_weight, epoch_steps)
    known = {name: value for name, value in metrics.items() if value is not None}
    return weight.remark(known) if weight is not None and "kl" in known else None
