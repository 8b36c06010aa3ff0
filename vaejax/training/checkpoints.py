"""Checkpoints, which hold the whole state of a run and restore it bit for bit.

A checkpoint is the folder `folder/<step>`, written by orbax under another name and
renamed when complete, so that an interrupted run leaves a whole one behind. All arrays
of the `TrainState` go into a single array of bytes, since orbax takes milliseconds for
each array. The metadata hold the arrays' types and shapes, the caller's JSON, and
digests of all. The last two checkpoints are kept. A checkpoint holds no code, and
reading runs none.

`vaejax.training` does not import this module: orbax takes a second to import.
"""

import contextlib
import hashlib
import json
import logging
import math
import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import UInt8

from vaejax.core import VaejaxError
from vaejax.core.doors import expect, expect_kept
from vaejax.core.memory import host_bytes
from vaejax.core.ranges import shown
from vaejax.training.state import TrainState

T = TypeVar("T")

KEEP = 2  # the number of checkpoints kept, unless `keep_all`
MOST_EXTRA = 2**30  # bytes of a checkpoint beside the arrays


class CheckpointError(VaejaxError):
    """A checkpoint is missing, damaged, or of another run."""


def save(
    folder: str | Path,
    state: TrainState,
    extra: dict[str, Any] | None = None,
    *,
    keep_all: bool = False,
) -> None:
    """Write `folder/<step>`, with `extra` (JSON); keep it and the one before.

    With `keep_all` every earlier checkpoint is kept. Later checkpoints are removed.

    Raises:
        CheckpointError: it cannot be written; those before it are as they were.
        VaejaxError: `state` is no state, or its arrays are freed.

    Examples:
        >>> from tempfile import mkdtemp
        >>> objective = make_objective(gaussian_toy((2,)), elbo(), stl(), num_samples=1)
        >>> adam, key = optax.adam(1e-2), jax.random.key(0)
        >>> state = vaejax.training.init_state(objective, adam, key)
        >>> folder = mkdtemp()
        >>> vaejax.training.save(folder, state)
        >>> again, extra = vaejax.training.restore(folder, like=state)
        >>> int(again.step), extra
        (0, {})
    """
    folder = Path(folder)
    check_path(folder)
    expect_kept("state", expect(TrainState, "state", state))
    step = int(state.step)
    leaves = jax.tree.leaves(jax.device_get(_plain(state)))
    content = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    described = {"arrays": _index(state), "extra": extra or {}}
    digests = [_digest(content.tobytes()), _digest_of(described)]
    try:
        folder.mkdir(exist_ok=True)  # without its parents: the run may be deleted
        with _quiet(), _checkpointer() as checkpointer:
            checkpointer.save(
                folder.absolute() / str(step),
                {"bytes": content},
                force=True,  # replaces a damaged checkpoint of the same step
                custom_metadata={**described, "sha256": digests},
            )
    except Exception as error:  # orbax raises errors of any type if it cannot write
        raise CheckpointError(
            f"cannot write a checkpoint to {folder} ({_reason(error)}), but earlier "
            "checkpoints are whole: make the folder writable, or free space on its "
            "disk"
        ) from error
    finally:
        for unfinished in folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished, ignore_errors=True)
    # Later checkpoints are damaged: otherwise the run had continued from them.
    kept = [other for other in steps(folder) if other <= step]
    for other in set(steps(folder)) - set(kept if keep_all else kept[-KEEP:]):
        shutil.rmtree(folder / str(other), ignore_errors=True)


def check_path(folder: Path) -> None:
    r"""Refuse a folder whose checkpoints could not be read again.

    The writer of the arrays reads `\` as `/`, and `gs:` as a network address.

    Raises:
        CheckpointError: the path holds one of them, or bytes that are no UTF-8.
    """
    path = str(folder.absolute())
    in_utf8 = path.encode("utf-8", "replace").decode() == path
    if not in_utf8 or "\\" in path or "gs:" in folder.absolute().parts:
        raise CheckpointError(
            f"checkpoints cannot be kept under {shown(path)}: use a path in UTF-8, "
            "without a backslash and without gs:"
        )


def latest(folder: Path) -> int | None:
    """The step of the newest checkpoint, or None where there is none."""
    return max(steps(folder), default=None)


def steps(folder: Path) -> list[int]:
    """The steps of all checkpoints, in rising order."""
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal())


def restore(
    folder: str | Path, like: TrainState, step: int | None = None
) -> tuple[TrainState, dict[str, Any]]:
    """Read the newest checkpoint that is whole, and warn of damaged ones passed over.

    Args:
        folder: as given to `save`.
        like: a state of the same run, such as `init_state` makes, for its structure.
        step: read the checkpoint of this one instead.

    Returns:
        The state and the `extra` that were saved.

    Raises:
        CheckpointError: naming the folder, and what to do.
        VaejaxError: `like` is no state, or its arrays are freed.
    """
    expect_kept("like", expect(TrainState, "like", like))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(_plain(like)))

    def read(path: Path) -> tuple[TrainState, dict[str, Any]]:
        check = partial(_check_same_run, state=like, path=path)
        described, content = _read(path, size, check)
        return _fill(like, content), described["extra"]

    return _newest(Path(folder), step, read)


def read_arrays(folder: str | Path) -> dict[str, np.ndarray]:
    """The arrays of the newest checkpoint that is whole, by path, up to the run's key.

    The paths are as in "params.encoder.bias". No state of the run is needed.

    Raises:
        CheckpointError: naming the folder, and what to do.
    """

    def read(path: Path) -> dict[str, np.ndarray]:
        described, content = _read(path, host_bytes())
        return _cut(described["arrays"], content)

    return _newest(Path(folder), None, read)


def _newest(folder: Path, step: int | None, read: Callable[[Path], T]) -> T:
    """Read the newest checkpoint that is whole, or the one of this step."""
    found = steps(folder) if step is None else [step]
    if not found:
        raise CheckpointError(
            f"no checkpoint in {folder}: name the folder of a run that saved one, or "
            "start the run anew"
        )
    for step in reversed(found):
        path = folder.absolute() / str(step)
        try:
            return read(path)
        except CheckpointError:  # the checkpoint is whole, but of another run
            raise
        except Exception as error:  # orbax raises errors of any type on a damaged file
            warnings.warn(
                f"checkpoint {path} is damaged: {_reason(error)}", stacklevel=3
            )
    raise CheckpointError(
        f"no checkpoint in {folder} is whole (steps {found}): restore the folder from "
        "a copy, or delete it and start the run anew"
    )


def _checkpointer() -> ocp.Checkpointer:
    """A checkpointer for this process alone, which waits for no other process."""
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


def _read(
    path: Path,
    most: int,
    check: Callable[[dict[str, str]], None] = lambda index: None,
) -> tuple[dict[str, Any], UInt8[np.ndarray, " bytes"]]:
    """Read the description and the bytes of the arrays, at most `most` of them.

    `check` takes the arrays' types and shapes before the bytes are read.

    Raises:
        CheckpointError: it is of another run, as `check` finds.
        ValueError: it is not what was saved; and whatever orbax raises.
    """
    _check_files(path, most + MOST_EXTRA)
    with _quiet(), _checkpointer() as checkpointer:
        found = checkpointer.metadata(path)
        if not found.custom_metadata:
            raise ValueError("its metadata are missing")
        described = {name: found.custom_metadata[name] for name in ("arrays", "extra")}
        of_content, of_description = found.custom_metadata["sha256"]
        if _digest_of(described) != of_description:
            raise ValueError("its metadata are not those that were saved")
        check(described["arrays"])
        stored = {
            name: (array.shape, array.storage.chunk_shape)
            for name, array in found.item_metadata.items()
        }
        ((size,), _) = stored.get("bytes", ((0,), ()))
        if size > most or stored != {"bytes": ((size,), (size,))}:
            raise ValueError("its metadata name other arrays than it holds")
        content = checkpointer.restore(path)["bytes"]
    if _digest(content.tobytes()) != of_content:
        raise ValueError("its content is not the one that was saved")
    return described, content


def _check_files(path: Path, most: int) -> None:
    """Refuse what orbax would read for ever, or until it fills the memory.

    Raises:
        ValueError: something other than files and folders, or more than `most` bytes.
    """
    total = 0
    for found in path.rglob("*"):
        if found.is_file():
            total += found.stat().st_size
        elif not found.is_dir():
            raise ValueError(f"{found.name} is not a regular file")
    if total > most:
        raise ValueError(f"it has more than {most:,} bytes")


def _digest_of(described: dict[str, Any]) -> str:
    return _digest(json.dumps(described, sort_keys=True).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax from also logging the traceback of an error that it raises."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _reason(error: Exception) -> str:
    """The system's reason for the error, or its message, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).partition("\n")[0].partition(" [os_error_code")
    return text[0].rpartition(": ")[2] if text[1] else text[0][:200]


def _check_same_run(found: dict[str, str], state: TrainState, path: Path) -> None:
    expected = _index(state)
    if found != expected and _single(found) == _single(expected):
        there = "float64" if "float64" in "".join(found.values()) else "float32"
        raise CheckpointError(
            f"checkpoint {path} is of a run in {there}, and this run is not: resume "
            f"it under JAX_ENABLE_X64={int(there == 'float64')}"
        )
    for name in sorted(found.keys() | expected.keys()):
        there, here = (index.get(name, "absent") for index in (found, expected))
        if there != here:
            raise CheckpointError(
                f"checkpoint {path} is of another run: {name} is {there} there and "
                f"{here} here; use the settings of that run, or another folder"
            )


def _index(state: TrainState) -> dict[str, str]:
    """The type and shape of leaves by path: {"params.encoder.bias": "float32[50]"}."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            f"{leaf.dtype}{list(leaf.shape)}"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def _cut(
    index: dict[str, str], content: UInt8[np.ndarray, " bytes"]
) -> dict[str, np.ndarray]:
    """Cut the bytes into the arrays of an index, up to the run's key."""
    arrays, start = {}, 0
    for name, described in index.items():
        if name == "key":
            break
        dtype, _, sizes = described.rstrip("]").partition("[")
        shape = tuple(int(size) for size in sizes.split(",") if size)
        end = start + math.prod(shape) * jnp.dtype(dtype).itemsize
        arrays[name] = content[start:end].view(jnp.dtype(dtype)).reshape(shape)
        start = end
    return arrays


def _single(index: dict[str, str]) -> dict[str, str]:
    """Replace float64 by float32 in an index."""
    return {name: leaf.replace("float64", "float32") for name, leaf in index.items()}


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
    """Replace the state's random key by its key data."""
    return state._replace(key=jax.random.key_data(state.key))
