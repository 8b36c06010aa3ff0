"""The folder of a run: what is in it, and when it may be written to.

config.json      the settings
metrics.jsonl    a line an epoch
checkpoints/     the state, from which a run goes on
snapshots/       the states after some epochs, if they are to be kept
results.json     written last: a folder that has it is finished
failure.txt      what went wrong, in a run that failed
figures/         pictures
lock             while a process runs in it, and locked by it until it ends, however
"""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import jax

from experiments.json_files import read_json, read_lines
from vaejax.core import VaejaxError

FILES = (
    *("config.json", "metrics.jsonl", "results.json", "results.csv"),
    *("results.parquet", "report.html"),
    *("failure.txt", "tracking.json"),
)
FOLDERS = ("checkpoints", "snapshots", "figures", "tensorboard", "wandb", "profile")
# Where a run is carried out, which its results do not depend on.
PLACES = ("sample_devices", "distributed", "coordinator", "num_processes", "process_id")
# That, where its files are and how it is watched: not what it is, and not kept.
NO_SETTINGS = {
    *("out", "overwrite", "resume"),
    *("tensorboard", "wandb", "mlflow", "profile", "snapshot_epochs"),
    *PLACES,
}
X64 = "jax_enable_x64"  # whether all numbers are float64; no option, but JAX's own
FIGURES = ("train", "test")  # what a line of metrics.jsonl has numbers in
LOCK = "lock"
_held: dict[Path, TextIO] = {}  # the locks of this process, open
# Settings that a run may go on with others of: how it is carried out, and what is done
# about a step that fails, which is only known once it does.
FREE = ("checkpoint_seconds", "checkpoint_steps", "on_nonfinite", "max_skipped")


def config_as_json(config: Any) -> dict[str, Any]:
    """The settings as plain JSON values, JAX's precision among them."""
    settings = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return settings | {X64: _in_x64()}


@contextlib.contextmanager
def open_run(
    out: Path, config: Any, *, overwrite: bool, resume: bool | None = None
) -> Iterator[None]:
    """Have `out` for the run of `config` alone while the block runs, or say why not.

    `resume` is None for an experiment that cannot be resumed.

    Raises:
        VaejaxError: it holds a finished run, or an unfinished one that is not to be
            resumed, or one with other settings, or one that is running; or it cannot
            be written to.
    """
    if overwrite and resume:
        raise VaejaxError(
            "--overwrite starts anew and --resume goes on: leave one of them out"
        )
    with contextlib.ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out))
        except OSError as error:
            reason = "it is a file" if out.is_file() else error.strerror
            raise VaejaxError(
                f"cannot write to the folder {out} ({reason}): use another --out"
            ) from error
        settings = settings_of(config)
        if not (out / "config.json").exists() and (out / "checkpoints").exists():
            raise VaejaxError(
                f"{out} holds checkpoints of a run whose settings are lost: remove "
                "them, or use another --out"
            )
        if (out / "config.json").exists():
            before = read_json(out / "config.json")
            if overwrite:
                _check_is_replaceable(out, before, settings)
                clear(out)
            elif not (out / "results.json").exists():
                _check_goes_on(out, config, resume)
        if (out / "results.json").exists():
            raise VaejaxError(
                f"{out} holds a finished run: use another --out, or --overwrite to "
                "replace it"
            )
        (out / "failure.txt").unlink(missing_ok=True)
        write_json(out / "config.json", settings)
        try:
            yield
        except Exception as error:
            record_failure(out, error)
            raise


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder's lock file; the system lets go of it however a process ends.

    Raises:
        VaejaxError: another process holds it.
    """
    path = out / LOCK
    while True:
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise VaejaxError(
                    f"another run is writing to {out} ({file.read() or 'just begun'}): "
                    "wait for it, or use another --out"
                ) from None
            if not _is_at(file, path):
                continue  # its holder removed it between those two lines
            file.truncate(0)
            print(f"process {os.getpid()} on {platform.node()}", end="", file=file)
            file.flush()
            _held[path] = file
            try:
                yield
            finally:
                del _held[path]
                with contextlib.suppress(OSError):  # the folder is gone, or read-only
                    if _is_at(file, path):
                        path.unlink()
            return


def check_held(out: Path) -> None:
    """Raise a `VaejaxError` if this process locked the folder, and it is another now.

    Whoever removed it may have started another run there since.
    """
    file = _held.get(out / LOCK)
    if file is not None and not _is_at(file, out / LOCK):
        raise VaejaxError(
            f"the folder {out} was removed while this run was writing to it: start the "
            "run anew"
        )


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _check_is_replaceable(out: Path, before: Any, settings: dict[str, Any]) -> None:
    if not isinstance(before, dict) or before.keys() | {X64} != settings.keys():
        raise VaejaxError(
            f"{out} holds another experiment's run, which --overwrite leaves alone: "
            "use another --out, or remove it yourself"
        )


def _check_goes_on(out: Path, config: Any, resume: bool | None) -> None:
    if not resume:
        go_on = "" if resume is None else "--resume to go on with it, "
        raise VaejaxError(
            f"{out} holds an unfinished run: use {go_on}--overwrite to start anew, or "
            "another --out"
        )
    check_same_settings(out, config)


def settings_of(config: Any) -> dict[str, Any]:
    """The settings that a run's results depend on."""
    settings = config_as_json(config)
    return {name: value for name, value in settings.items() if name not in NO_SETTINGS}


def check_same_settings(out: Path, config: Any) -> None:
    """Raise a `VaejaxError` if the run in `out` has other settings than `config`."""
    check_settings(read_json(out / "config.json"), config, out)


def check_settings(before: Any, config: Any, where: Path) -> None:
    """Raise a `VaejaxError` if the settings before were others than `config`'s."""
    settings = settings_of(config)
    if not isinstance(before, dict):
        raise VaejaxError(
            f"the settings in {where} are damaged: use another --out, or remove it"
        )
    before = {X64: False} | before  # as in folders that do not say
    if before[X64] != settings[X64]:
        raise VaejaxError(
            f"{where} holds a run in {_precision(before[X64])}, and JAX computes in "
            f"{_precision(settings[X64])}: go on with it under "
            f"JAX_ENABLE_X64={int(not settings[X64])}, or use another --out"
        )
    differing = [
        f"{name} was {before.get(name)!r} and is {settings.get(name)!r}"
        for name in sorted(before.keys() | settings.keys())
        if before.get(name) != settings.get(name) and name not in FREE
    ]
    if differing:
        raise VaejaxError(
            f"{where} holds a run with other settings: {'; '.join(differing)}. "
            "Resume it with its own settings, or use another --out"
        )


def _in_x64() -> bool:
    settings: Any = jax.config  # its settings are attributes that it does not declare
    return settings.jax_enable_x64


def _precision(x64: bool) -> str:
    return "float64" if x64 else "float32"


def is_running(out: Path) -> bool:
    """Whether a process holds the run's lock."""
    try:
        with (out / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def record_failure(out: Path, error: Exception) -> None:
    """Keep what went wrong beside the run."""
    with contextlib.suppress(VaejaxError):  # a full disk must not hide the error
        write_text(out / "failure.txt", f"{str(error) or type(error).__name__}\n")


def clear(out: Path) -> None:
    """Remove what a run writes, and nothing else; last, what says whose it was."""
    for name in FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
    for name in sorted(FILES, key=lambda name: name == "config.json"):
        (out / name).unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write atomically: a reader sees the old file or the new one."""
    text = json.dumps(value, indent=2, default=str, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write atomically: a reader sees the old file or the new one.

    Raises:
        VaejaxError: it cannot be written.
    """
    check_held(path.parent)
    temporary = path.with_name(f".{path.name}.writing")
    with _explained(path):
        try:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise VaejaxError(
            f"cannot write {path} ({error.strerror}): what was saved before is whole; "
            "make its folder writable, or room on its disk"
        ) from error


def read_rows(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, an epoch each; of one damaged, that it is."""
    rows, problems = read_lines(out / "metrics.jsonl", is_row)
    for problem in problems:
        print(f"{problem}: it is left out")
    return rows


def is_row(found: Any) -> bool:
    """Whether it can be a line of metrics.jsonl: figures, if any, are of an epoch."""
    if not isinstance(found, dict):
        return False
    figures = [found[name] for name in FIGURES if found.get(name) is not None]
    return all(map(_are_numbers, figures)) and (
        not figures or type(found.get("epoch")) is int
    )


def _are_numbers(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(value, int | float | None) for value in found.values()
    )


def write_rows(out: Path, rows: list[dict[str, Any]]) -> None:
    """Replace metrics.jsonl, as by the epochs up to a checkpoint."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_text(out / "metrics.jsonl", lines)


def append_row(out: Path, row: dict[str, Any]) -> None:
    """Add an epoch to metrics.jsonl."""
    check_held(out)
    path = out / "metrics.jsonl"
    with _explained(path), path.open("r+") as lines:  # not anew where it is gone
        lines.seek(0, os.SEEK_END)
        lines.write(json.dumps(row) + "\n")


def versions() -> dict[str, str]:
    """The versions that a result depends on, the device and the precision."""
    packages = ("vaejax", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    device = jax.devices()[0]
    return {
        **found,
        "device": f"{device.platform} {device.device_kind}",
        "precision": _precision(_in_x64()),
    }
