"""Resuming of trainings: the runs allowed, and the effects of more epochs."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from experiments.harness import run_folder
from experiments.training.config import Config
from experiments.training.optimizer import make_schedule
from vaejax.core import VaejaxError
from vaejax.training import checkpoints
from vaejax.training.schedules import NO_DECAY


@contextlib.contextmanager
def open_training(config: Config) -> Iterator[None]:
    """Reserve the folder of the training while the block runs; see `open_run`.

    Process 0 holds the folder; after an interrupt or the loss of a process, the message
    in every process says what to do.
    """
    alone = run_folder.open_run(
        config.out,
        config,
        overwrite=config.overwrite,
        resume=config.resume,
        free=more_epochs,
        reopens=lambda before: more_epochs("epochs", before["epochs"], config.epochs),
        reopened_by="--resume with more --epochs",
        check_state=lambda: _check_state(config.out),
    )
    with alone if jax.process_index() == 0 else contextlib.nullcontext():
        try:
            yield
        except KeyboardInterrupt:  # in process 0, `open_run` says more
            how = run_folder.how_to_go_on(config.out, config.overwrite, config.resume)
            raise KeyboardInterrupt(how) from None
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            raise VaejaxError(
                "another process of the run was lost: start all of them again with "
                f"--resume, to continue from the last checkpoint in {config.out}"
            ) from error


def _check_state(out: Path) -> None:
    """Refuse to go on with a run that has lost its checkpoints.

    The run would start anew, and write over its results: the first epoch is in a
    checkpoint before it is a line of metrics.jsonl.

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
            f"{out} holds {' and '.join(held)}, and no checkpoint to continue from: "
            f"restore {folder} from a copy, move {out} away, or use --overwrite in "
            "the place of --resume to start anew"
        )


def more_epochs(name: str, before: Any, now: Any) -> bool:
    """True if a run may go on with the changed setting: more epochs than before."""
    return name == "epochs" and isinstance(before, int) and now > before


def say_if_longer(config: Config, before: int, step: int, num_steps: int) -> None:
    """Print that the run goes on beyond its last epoch, and the effects of that."""
    if config.epochs == before:
        return
    print(
        f"the training continues from epoch {step // num_steps} to {config.epochs}, "
        f"not {before}"
    )
    if config.schedule not in NO_DECAY:
        now, ended = (
            float(make_schedule(config, n * num_steps, num_steps)(step))
            for n in (config.epochs, before)
        )
        print(
            f"from here on the learning rate follows the {config.schedule} schedule "
            f"for {config.epochs} epochs: {now:.3g} at this step, not {ended:.3g}"
        )
    if config.encoder_steps > 1:
        print(
            "the encoder takes more steps than the decoder in the first half of "
            f"{config.epochs} epochs"
        )
    if config.kl_weight:
        print(
            "the KL weight keeps its schedule, which has a number of steps of its own"
        )
