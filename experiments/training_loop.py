"""The training of a run: from the start or the last checkpoint to the last epoch.

Every epoch is a line of metrics.jsonl. The state is saved now and then, at the end, and
when an interruption or a loss that is not finite cuts the training short.
"""

import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import run_folder
from experiments.cli import deferred_interrupts, progress_bar
from experiments.prepared_run import Data, make_keys
from experiments.train_config import Config
from vaejax.core import Batch, Objective, Params, VaejaxError
from vaejax.data import PROTOCOLS
from vaejax.training import (
    EpochReport,
    NonFiniteError,
    TrainState,
    checkpoints,
    default_micro_batch_size,
    fit,
    init_state,
)
from vaejax.training.memory import example_bytes


def choose_micro_batch_size(
    config: Config, objective: Objective, data: Data
) -> int | None:
    """Examples per gradient: as asked for, or what fits the cache and the memory."""
    if config.micro_batch_size is not None:
        return config.micro_batch_size
    if config.regularizers:
        return None  # batch-level terms compare the examples of a whole batch
    return default_micro_batch_size(
        config.batch_size,
        config.num_samples,
        example_bytes=example_bytes(
            objective, jax.tree.map(lambda leaf: leaf[0], data.test)
        ),
        max_bytes=config.memory_budget * 2**20,
    )


def train_to_end(
    config: Config,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    data: Data,
    micro_batch_size: int | None,
) -> tuple[TrainState, dict[str, Any]]:
    """Train from the start or the last checkpoint; the final state and its figures."""
    key = make_keys(config).train
    folder = config.out / "checkpoints"
    state, saved, rows = None, None, []
    if config.resume and checkpoints.latest(folder) is not None:
        like = init_state(objective, optimizer, key)
        state, extra = checkpoints.restore(folder, like)
        rows = extra["rows"]
        saved = jax.device_get(state), rows
    # Later lines belong to epochs that are redone.
    run_folder.write_rows(config.out, rows)
    test_bound = _test_bound(objective, data, config.num_samples)
    saved_at = time.monotonic()

    with progress_bar("training", config.epochs, "epochs") as update:

        def on_epoch(report: EpochReport) -> None:
            nonlocal saved, rows, saved_at
            row = {
                "epoch": report.epoch,
                "step": int(report.state.step),
                "train": report.metrics,
                "test": test_bound(report.state),
                "images_per_second": report.num_images / report.seconds,
                "compile_seconds": report.compile_seconds,
            }
            if not all(map(math.isfinite, row["test"].values())):
                if saved is not None:
                    _save(folder, *saved)
                raise VaejaxError(
                    f"the test bound is not finite after step {row['step']}: lower the "
                    f"learning rate. The state of the epoch before, if there was one, "
                    f"is in {folder}; start anew with --overwrite"
                )
            rows = [*rows, row]
            run_folder.append_row(config.out, row)
            # A copy for an interruption, as the next epoch is donated this state; one
            # assignment, as a signal may come between any two.
            saved = jax.device_get(report.state), rows
            if time.monotonic() - saved_at > config.checkpoint_seconds:
                _save(folder, *saved)
                saved_at = time.monotonic()
            update(
                report.epoch,
                f"{row['images_per_second']:,.0f} images/s, "
                f"bound {report.metrics['bound']:.2f}",
            )

        try:
            state = fit(
                objective,
                optimizer,
                data.train,
                epochs=config.epochs,
                batch_size=config.batch_size,
                key=key,
                observe=PROTOCOLS[data.protocol].sample,
                micro_batch_size=micro_batch_size,
                state=state,
                on_epoch=on_epoch,
            )
        except NonFiniteError as error:
            _save(folder, error.state, rows)
            raise VaejaxError(
                f"{error}. The last good state is in {folder}; start anew with "
                "--overwrite"
            ) from error
        except KeyboardInterrupt:
            if saved is not None:
                _save(folder, *saved)
            raise
    _save(folder, state, rows)
    return state, {
        "images_per_second": float(np.median([r["images_per_second"] for r in rows])),
        "compile_seconds": rows[-1]["compile_seconds"],
        "epochs": len(rows),
        "steps": rows[-1]["step"],
        "bound": rows[-1]["train"]["bound"],
    }


def _save(folder: Path, state: TrainState, rows: list[dict[str, Any]]) -> None:
    with deferred_interrupts():
        checkpoints.save(folder, state, {"rows": rows})


def _test_bound(objective: Objective, data: Data, num_samples: int) -> Any:
    """The training objective on the first test examples, with keys of their own.

    About 5000 decodings, for the curve of an epoch; at least 100 images.
    """
    limit = max(100, 5000 // num_samples)
    examples = jax.tree.map(lambda leaf: leaf[:limit], data.test)
    batch = Batch(examples, jnp.arange(len(examples.x)))

    @jax.jit
    def metrics(params: Params, est_state: Any, key: jax.Array) -> dict:
        return objective.loss(params, est_state, key, batch)[1][1]

    def evaluate(state: TrainState) -> dict[str, float]:
        # Children 0 and 1 of a step's key are that step's own.
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), 2)
        found = metrics(state.params, state.est_state, key)
        return {name: float(value) for name, value in found.items()}

    return evaluate
