"""Checkpoints: everything a run carries, written so that it goes on bit for bit.

A checkpoint is the folder `folder/<step>`, written by orbax under another name and
renamed when complete, so that an interrupted run leaves a whole one behind. All arrays
of the `TrainState` go into a single one of bytes, since orbax takes milliseconds for
each; what they are, their digest and the caller's own JSON go into its metadata. The
last two are kept.

Not imported with `vaejax.training`: orbax takes a second to import.
"""

import hashlib
import shutil
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import UInt8

from vaejax.core import VaejaxError
from vaejax.training.state import TrainState

KEEP = 2


class CheckpointError(VaejaxError):
    """A checkpoint that is missing, damaged, or of another run."""


def save(folder: Path, state: TrainState, extra: dict[str, Any]) -> None:
    """Write `folder/<step>`, with `extra` (JSON), and delete all but the last two."""
    leaves = jax.tree.leaves(jax.device_get(_plain(state)))
    content = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    digest = hashlib.sha256(content.tobytes()).hexdigest()
    with _checkpointer() as checkpointer:
        checkpointer.save(
            folder.absolute() / str(int(state.step)),
            {"bytes": content},
            force=True,  # replaces a damaged one of the same step
            custom_metadata={"arrays": _index(state), "sha256": digest, "extra": extra},
        )
    for step in _steps(folder)[:-KEEP]:
        shutil.rmtree(folder / str(step))
    for unfinished in folder.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(unfinished)


def latest(folder: Path) -> int | None:
    """The step of the newest checkpoint, or None where there is none."""
    return max(_steps(folder), default=None)


def restore(folder: Path, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
    """Read the newest checkpoint that is whole; one that is passed over is warned of.

    Args:
        folder: as given to `save`.
        like: a state of the same run, such as `init_state` makes, for its structure.

    Returns:
        The state and the `extra` that were saved.

    Raises:
        CheckpointError: naming the folder, and what to do.
    """
    steps = _steps(folder)
    if not steps:
        raise CheckpointError(
            f"no checkpoint in {folder}: name the folder of a run that saved one, or "
            "start the run anew"
        )
    for step in reversed(steps):
        path = folder.absolute() / str(step)
        try:
            content, metadata = _read(path)
        except Exception as error:  # orbax raises anything on a damaged file
            reason = str(error).partition("\n")[0][:200]
            warnings.warn(f"checkpoint {path} is damaged: {reason}", stacklevel=2)
            continue
        _check_same_run(metadata["arrays"], like, path)
        return _fill(like, content), metadata["extra"]
    raise CheckpointError(
        f"no checkpoint in {folder} is whole (steps {steps}): restore the folder from "
        "a copy, or delete it and start the run anew"
    )


def _checkpointer() -> ocp.Checkpointer:
    """This process's own: of several, none waits for another."""
    own = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=own,
        active_processes={own},
        barrier_sync_key_prefix=f"process_{own}",
    )
    return ocp.Checkpointer(
        ocp.PyTreeCheckpointHandler(multiprocessing_options=options),
        multiprocessing_options=options,
    )


def _steps(folder: Path) -> list[int]:
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit())


def _read(path: Path) -> tuple[UInt8[np.ndarray, " bytes"], dict[str, Any]]:
    with _checkpointer() as checkpointer:
        metadata = checkpointer.metadata(path).custom_metadata
        content = checkpointer.restore(path)["bytes"]
    if (
        not metadata
        or hashlib.sha256(content.tobytes()).hexdigest() != metadata["sha256"]
    ):
        raise CheckpointError("its content is not what was saved")
    return content, metadata


def _check_same_run(found: dict[str, str], state: TrainState, path: Path) -> None:
    expected = _index(state)
    for name in sorted(found.keys() | expected.keys()):
        there, here = (index.get(name, "absent") for index in (found, expected))
        if there != here:
            raise CheckpointError(
                f"checkpoint {path} is of another run: {name} is {there} there and "
                f"{here} here; use the settings it was made with, or another folder"
            )


def _index(state: TrainState) -> dict[str, str]:
    """What every leaf is, by its path: {"params.encoder.bias": "float32[50]"}."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            f"{leaf.dtype}{list(leaf.shape)}"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def _fill(like: TrainState, content: UInt8[np.ndarray, " bytes"]) -> TrainState:
    """Cut the bytes into the leaves of `like`."""
    leaves, treedef = jax.tree.flatten(_plain(like))
    parts = np.split(content, np.cumsum([leaf.nbytes for leaf in leaves])[:-1])
    arrays = [
        jnp.array(part.view(leaf.dtype).reshape(leaf.shape))
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    state = jax.tree.unflatten(treedef, arrays)
    impl = jax.random.key_impl(like.key)
    return state._replace(key=jax.random.wrap_key_data(state.key, impl=impl))


def _plain(state: TrainState) -> TrainState:
    """The state with its key as the numbers behind it."""
    return state._replace(key=jax.random.key_data(state.key))
