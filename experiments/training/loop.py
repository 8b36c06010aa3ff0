"""The training of a run: from the start or the last checkpoint to the last epoch.

Every epoch is a line of metrics.jsonl. The state is saved after the first epoch, now
and then, at the end, and when an interruption or a loss that is not finite cuts the
training short. A run that goes on from a checkpoint computes what it would have
computed, bit for bit.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from experiments.harness import run_folder, run_lock, run_settings
from experiments.harness.cli import noted_interrupts, progress_bar
from experiments.training import processes
from experiments.training.config import SCHEDULES, Config
from experiments.training.prepared_run import Data, make_keys, named_kl_weight
from vaejax.core import Batch, Objective, Params, VaejaxError
from vaejax.data import PROTOCOLS
from vaejax.sharding import DATA, SAMPLES
from vaejax.training import (
    EpochReport,
    NonFiniteError,
    Totals,
    TrainState,
    check_parts,
    checkpoints,
    default_micro_batch_size,
    fit,
    init_state,
    steps_per_epoch,
)
from vaejax.training.memory import gradient_bytes

Watcher = Callable[[dict[str, Any], TrainState], None]


def choose_micro_batch_size(
    config: Config, objective: Objective, data: Data, mesh: Mesh
) -> int | None:
    """Examples per gradient: as asked for, or what fits a device's cache and memory.

    Raises:
        VaejaxError: what was asked for, or one example, does not fit the budget; a
            batch that is not to be cut up.
    """
    shares, sample_shares = mesh.shape[DATA], mesh.shape[SAMPLES]
    max_bytes = config.memory_budget * 2**20

    def share_bytes(size: int) -> int:
        alike = jax.tree.map(
            lambda leaf: jnp.zeros((size, *leaf.shape[1:]), leaf.dtype), data.test
        )
        return gradient_bytes(objective, alike) // sample_shares

    check_parts(objective, config.batch_size, config.micro_batch_size)
    # Batch-level terms compare the examples of a whole batch.
    whole = config.batch_size if objective.data.whole_batch else None
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
            f"the gradient of {asked} examples needs about {needed / 2**20:,.0f} MiB "
            f"on a device, and the memory budget is {config.memory_budget:,} MiB: "
            f"raise it, or use {remedy} or fewer samples"
        )
    return config.micro_batch_size


def train_to_end(
    config: Config,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    data: Data,
    micro_batch_size: int | None = None,
    mesh: Mesh | None = None,
    watchers: Sequence[Watcher] = (),
    start: Callable[[], TrainState] | None = None,
) -> tuple[TrainState, dict[str, Any]]:
    """Train from the start or the last checkpoint; the final state and its figures.

    The watchers are handed every epoch's row, as in metrics.jsonl, and state. A run
    that does not go on from a checkpoint starts at `start`, by default anew.
    """
    key = make_keys(config).train
    folder = config.out / "checkpoints"
    totals, rows = None, []
    saved_step, saved_at = 0, time.monotonic()
    newest = checkpoints.latest(folder) if config.resume else None
    processes.check_shared(f"the newest checkpoint in {folder}", newest)
    if newest is None:
        state = None if start is None else start()
    else:
        like = init_state(objective, optimizer, key)
        state, extra = checkpoints.restore(folder, like)
        run_settings.check_settings(extra.get("settings"), config, folder, more_epochs)
        totals, rows = _read_totals(extra["totals"]), extra["rows"]
        saved_step = int(state.step)
    # Later lines belong to epochs that are redone.
    first = processes.is_first()
    if first:
        run_folder.write_rows(config.out, rows)
    test_bound = _test_bound(objective, data, config.num_samples)
    num_steps = steps_per_epoch(len(data.train.x), config.batch_size)
    if state is not None and int(state.step) >= config.epochs * num_steps:
        return state, _figures(config, rows, len(data.train.x))
    if first and newest is not None:
        _say_if_longer(config, extra["settings"]["epochs"], saved_step, num_steps)
    epoch_before: tuple[TrainState, list] | None = None

    def save(state: TrainState, totals: Totals | None, rows: list) -> None:
        nonlocal saved_step, saved_at
        if first and int(state.step) != saved_step:
            extra = {
                "totals": _write_totals(totals),
                "rows": rows,
                "settings": run_settings.settings_of(config),
            }
            run_lock.check_held(config.out)
            checkpoints.save(folder, state, extra)
            run_folder.saved(config.out)
        saved_step, saved_at = int(state.step), time.monotonic()

    def on_epoch(report: EpochReport) -> None:
        nonlocal rows, epoch_before
        row = {
            "epoch": report.epoch,
            "step": int(report.state.step),
            "skipped": int(report.state.skipped),
            "train": _finite_or_none(report.metrics),
            "test": test_bound(report.state),
            "images_per_second": report.num_images / report.seconds,
            "compile_seconds": report.compile_seconds,
        }
        if not all(map(math.isfinite, row["test"].values())):
            if epoch_before is not None and epoch_before[0].step > saved_step:
                save(epoch_before[0], None, epoch_before[1])
            kept = (
                f"The last good state is in {folder}; start anew with --overwrite"
                if saved_step
                else "There is no good state to go on from"
            )
            raise VaejaxError(
                f"the test bound is not finite after step {row['step']}: lower the "
                f"learning rate. {kept}"
            )
        rows = [*rows, row]
        if not saved_step:  # so that no epoch is ever without a state
            save(report.state, None, rows)
        if first:
            run_folder.append_row(config.out, row)
            try:
                for watch in watchers:
                    watch(row, report.state)
            except Exception as error:  # a full disk, by whatever name
                save(report.state, None, rows)
                raise VaejaxError(
                    f"what watches the run failed after step {row['step']} ({error}). "
                    f"The state is in {folder}: go on with --resume, without the "
                    "option that failed, or with room on the disk"
                ) from error
        epoch_before = jax.device_get(report.state), rows
        speed = f"{row['images_per_second']:,.0f} images/s"
        update(report.epoch, f"{speed}, bound {report.metrics['bound']:.2f}")

    def on_dispatch(state: TrainState, totals: Totals) -> None:
        update(int(state.step) / num_steps)
        if (
            len(rows) == config.epochs
            or time.monotonic() - saved_at > config.checkpoint_seconds
            or (config.checkpoint_steps and state.step % config.checkpoint_steps == 0)
        ):
            save(state, totals, rows)
        if processes.any_process(interrupted()):
            save(state, totals, rows)
            raise KeyboardInterrupt

    with (
        noted_interrupts() as interrupted,
        progress_bar("training", config.epochs, "epochs") as update,
    ):
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
                max_skipped=config.max_skipped if config.on_nonfinite == "skip" else 0,
                steps_per_dispatch=config.checkpoint_steps,
                state=state,
                totals=totals,
                mesh=mesh,
                on_dispatch=on_dispatch,
                on_epoch=on_epoch,
            )
        except NonFiniteError as error:
            save(error.state, error.totals, rows)
            remedy = (
                "a larger --max-skipped"
                if config.on_nonfinite == "skip"
                else "--on-nonfinite skip"
            )
            if saved_step == 0:
                raise VaejaxError(f"{error}, by {remedy}") from error
            raise VaejaxError(
                f"{error}. The last good state is in {folder}: go on from there with "
                f"--resume {remedy}, or start anew with --overwrite"
            ) from error
    return state, _figures(config, rows, len(data.train.x))


def check_state(out: Path) -> None:
    """Refuse to go on with a run that has lost its checkpoints.

    It would start anew, and write over what it found: its first epoch is not a line of
    metrics.jsonl before it is in a checkpoint.

    Raises:
        VaejaxError: it has results or epochs, and no checkpoint; or `checkpoints` is no
            folder.
    """
    folder = out / "checkpoints"
    if checkpoints.latest(folder) is not None:
        return
    found = [out / name for name in ("results.json", "metrics.jsonl")]
    held = [path.name for path in found if path.exists() and path.stat().st_size]
    if folder.exists() and not folder.is_dir():
        held.append("a file in the place of checkpoints/")
    if held:
        raise VaejaxError(
            f"{out} holds {' and '.join(held)}, and no checkpoint to go on from: "
            f"restore {folder} from a copy, move {out} away, or use --overwrite in the "
            "place of --resume to start anew"
        )


def more_epochs(name: str, before: Any, now: Any) -> bool:
    """Whether a run may go on with this other setting: more epochs than it had."""
    return name == "epochs" and isinstance(before, int) and now > before


def _say_if_longer(config: Config, before: int, step: int, num_steps: int) -> None:
    """Print that the run goes on beyond its last epoch, and how what depends on it."""
    if config.epochs == before:
        return
    print(f"goes on from epoch {step // num_steps} to {config.epochs}, not {before}")
    if config.schedule != "constant":
        now, ended = (
            float(SCHEDULES[config.schedule](config.learning_rate, n * num_steps)(step))
            for n in (config.epochs, before)
        )
        print(
            f"the learning rate is from here on that of {config.epochs} epochs by the "
            f"{config.schedule} schedule: {now:.3g} at this step, not {ended:.3g}"
        )
    if config.encoder_steps > 1:
        print(
            "the encoder takes more steps than the model until half of "
            f"{config.epochs} epochs"
        )
    if config.kl_weight:
        print("the KL weight goes on as it would, by a number of steps of its own")


def _figures(
    config: Config, rows: list[dict[str, Any]], num_examples: int
) -> dict[str, Any]:
    """What results.json says of the training."""
    # A loss whose KL weight moves is no measure; the ELBO is one.
    score = "elbo" if config.kl_weight else "loss"
    sign = -1 if config.kl_weight else 1
    best = min(rows, key=lambda row: sign * row["test"][score])
    return {
        "images_per_second": float(np.median([r["images_per_second"] for r in rows])),
        "compile_seconds": rows[-1]["compile_seconds"],
        "epochs": len(rows),
        "steps": rows[-1]["step"],
        "skipped": rows[-1]["skipped"],
        "bound": rows[-1]["train"]["bound"],
        "kl_weight": _remark(config, rows[-1]["train"], num_examples),
        "beta": rows[-1]["train"].get("beta"),
        "best": {
            "epoch": best["epoch"],
            "step": best["step"],
            "test_bound": best["test"]["bound"],
        },
    }


def snapshots(config: Config) -> list[Watcher]:
    """Who keeps the state of some epochs in snapshots/, if that is asked for."""
    every = config.snapshot_epochs

    def keep(row: dict[str, Any], state: TrainState) -> None:
        if every is not None and row["epoch"] % every == 0:
            checkpoints.save(config.out / "snapshots", state, {}, keep_all=True)

    return [] if every is None else [keep]


def _write_totals(totals: Totals | None) -> dict[str, Any] | None:
    """As JSON, which holds a float exactly."""
    if totals is None:
        return None
    return jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), totals._asdict())


def _read_totals(saved: dict[str, Any] | None) -> Totals | None:
    if saved is None:
        return None
    metrics = {
        name: jnp.asarray(total, float) for name, total in saved["metrics"].items()
    }
    return Totals(steps=jnp.int32(saved["steps"]), metrics=metrics)


def _remark(
    config: Config, metrics: dict[str, float | None], num_examples: int
) -> str | None:
    """What to know of the KL weight at the end; nothing where no step was applied."""
    weight = named_kl_weight(config, num_examples)
    known = {name: value for name, value in metrics.items() if value is not None}
    return weight.remark(known) if weight is not None and "kl" in known else None


def _finite_or_none(metrics: dict[str, float]) -> dict[str, float | None]:
    """The metrics with null, as JSON knows no NaN, where no step was applied."""
    return {k: value if math.isfinite(value) else None for k, value in metrics.items()}


def _test_bound(objective: Objective, data: Data, num_samples: int) -> Any:
    """The training objective on the first test examples, with keys of their own.

    About 5000 decodings, or one image of so many, for the curve of an epoch.
    """
    limit = max(1, 5000 // num_samples)
    examples = jax.tree.map(lambda leaf: leaf[:limit], data.test)
    batch = Batch(examples, jnp.arange(len(examples.x)))

    @jax.jit
    def metrics(params: Params, loss_state: Any, key: jax.Array) -> dict:
        loss, (_, stats) = objective.loss(params, loss_state, key, batch)
        return {"loss": loss, **stats}

    def evaluate(state: TrainState) -> dict[str, float]:
        # Children 0 and 1 of a step's key are that step's own.
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), 2)
        found = metrics(state.params, state.loss_state, key)
        return {name: float(value) for name, value in found.items()}

    return evaluate
