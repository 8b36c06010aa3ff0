"""The folder of a run: its contents, and when a command may write to it.

A refused command leaves no trace, and a run that is to be replaced stays until the new
run has saved its first state (see `replacement`).

config.json      the settings
code/            copies of the user's code that the settings name, and their digests
model.json       the model's name and settings, to use the trained model
model.npz        what the model has from its data
metrics.jsonl    a line per epoch
checkpoints/     the state from which a run resumes
chosen/          the parameters to evaluate, unless they are those of checkpoints/
snapshots/       the states after some epochs, if requested
results.json     written last: a folder that has it is finished
failure.txt      the error of a failed run
figures/         pictures
lock             present while a process runs here, locked until it ends in any way
"""

import contextlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from experiments.harness import replacement, run_lock, run_settings
from experiments.harness.json_files import read_json
from vaejax.core import VaejaxError, own_code

FILES = (
    *("metrics.jsonl", "results.json", "results.csv", "results.parquet"),
    *("model.json", "model.npz"),
    *("report.html", "failure.txt", "tracking.json"),
    *("coverage.pdf", "coverage.png", "comparison.csv", "curves.png"),
)
FOLDERS = (
    *("checkpoints", "chosen", "snapshots", "figures", "tensorboard", "wandb"),
    *("profile", "logs", own_code.FOLDER),
)
WRITING = ".{}.writing"  # the name of a file until it is whole
# All files of a run; last, the file that identifies it.
NAMES = (
    *(WRITING.format(name) for name in (*FILES, "config.json")),
    *(*FOLDERS, *FILES, "config.json"),
)
# The runs of this process without a saved state, with the files there before.
_unsaved: dict[Path, list[str]] = {}


@contextlib.contextmanager
def open_run(
    out: Path,
    config: Any,
    *,
    overwrite: bool,
    resume: bool | None = None,
    free: Callable[[str, Any, Any], bool] = lambda name, before, now: False,
    reopens: Callable[[dict[str, Any]], bool] = lambda before: False,
    reopened_by: str = "",
    check_state: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Reserve `out` for the run of `config` while the block runs, or raise.

    A block that ends by an error or an interrupt before `saved` is called leaves the
    folder as it was, and removes a new folder. Only an error of the program, not of the
    user, leaves its failure.txt in a new folder.

    Args:
        out: the folder.
        config: of the run.
        overwrite: replace a run of the same experiment, as soon as `saved` is called.
        resume: go on with an unfinished run; None for an experiment that cannot.
        free: whether a run may go on although a setting differs (name, before, now).
        reopens: whether a finished run of these settings is gone on with. Its settings
            and results stay until new ones replace them.
        reopened_by: what to type for that, as a message says it.
        check_state: refuses to go on with a run that has lost its state.

    Raises:
        VaejaxError: it holds a finished run, or an unfinished one that is not to be
            resumed, or one with other settings, or one that is running; or it cannot
            be written to; or what `check_state` raises, before anything is written.
    """
    if overwrite and resume:
        raise VaejaxError(
            "--overwrite starts anew and --resume continues: leave one of them out"
        )
    settings = run_settings.settings_of(config)
    with _alone_in(out):
        before = _settings_before(out, settings)
        is_new = before is None or overwrite
        finished = (out / "results.json").exists() and not is_new
        if before is not None and not overwrite:
            _check_goes_on(out, resume, finished and not reopens(before), reopened_by)
            run_settings.check_types(before, type(config), out / "config.json")
            run_settings.check_settings(before, config, out, free)
            check_state()
        if is_new:
            _make_room(out, before is not None)
        # A sweep has no --resume: it always continues.
        if before is None and getattr(config, "resume", False):
            print(f"there is nothing to resume in {out}: the run starts anew")
        try:
            with write_errors_explained(out / "failure.txt"):
                (out / "failure.txt").unlink(missing_ok=True)
                own_code.keep(out, json.dumps(settings, ensure_ascii=False))
            if not finished:
                write_json(out / "config.json", settings)
            yield
            if finished:  # its results are replaced by now
                write_json(out / "config.json", settings)
        except KeyboardInterrupt:
            how = how_to_go_on(out, overwrite, resume)
            _end(out)
            raise KeyboardInterrupt(how) from None
        except Exception as error:
            _end(out, error)
            raise
        saved(out)


def saved(out: Path) -> None:
    """Note that the run in `out` has a state on disk, from which it can resume.

    The run that it replaces is removed; so are the runs that its parents replace.
    """
    for folder in [run for run in _unsaved if out.is_relative_to(run)]:
        with write_errors_explained(folder):
            replacement.drop(folder)
        del _unsaved[folder]


def heal(out: Path) -> None:
    """Restore a folder after a process was killed while it replaced a run."""
    if replacement.is_left(out):
        alive = contextlib.suppress(OSError, VaejaxError)  # if locked by a live process
        with alive, run_lock.locked(out):
            replacement.heal(out, NAMES)


@contextlib.contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Hold the lock of the folder; remove empty folders that were made here."""
    if Path.cwd().is_relative_to(os.path.realpath(out)):
        raise VaejaxError(
            "--out is empty, or the current folder, or a folder above it: name a "
            "separate folder, as in --out runs/mine"
        )
    made: list[Path] = []
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            made += [folder for folder in (out, *out.parents) if not folder.exists()]
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(run_lock.locked(out))
            replacement.heal(out, NAMES)
        except OSError as error:
            reason = "it is a file" if out.is_file() else error.strerror
            raise VaejaxError(
                f"cannot write to the folder {out} ({reason}): use another --out"
            ) from error
        yield


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):  # it is not empty, and nor are its parents
        for folder in folders:
            folder.rmdir()


def _settings_before(out: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The settings of the run in the folder, or None; the experiment is the same.

    Raises:
        VaejaxError: it is another's, or its settings are lost.
    """
    if not (out / "config.json").exists():
        for name in ("checkpoints", "chosen", "snapshots", *FILES):
            if name != "failure.txt" and (out / name).exists():
                raise VaejaxError(
                    f"{out} holds {name} of a run whose settings are lost: move it "
                    "away, or use another --out"
                )
        return None
    before = read_json(out / "config.json")
    # Older folders do not record their precision.
    if before.keys() | {run_settings.X64} != settings.keys():
        raise VaejaxError(
            f"{out} holds a run of another experiment or version: use another --out, "
            "or move the folder away"
        )
    return before


def _check_goes_on(
    out: Path, resume: bool | None, finished: bool, reopened_by: str
) -> None:
    if finished:
        more = f"{reopened_by} to continue it, " if reopened_by else ""
        raise VaejaxError(
            f"{out} holds a finished run: use {more}another --out, or --overwrite to "
            "replace it"
        )
    if not resume:
        go_on = "" if resume is None else "--resume to continue it, "
        raise VaejaxError(
            f"{out} holds an unfinished run: use {go_on}--overwrite to start anew, or "
            "another --out"
        )


def _make_room(out: Path, replaces: bool) -> None:
    """Set aside the run that is to be replaced, and note the folder's other files."""
    if replaces:
        with write_errors_explained(out):
            try:
                replacement.set_aside(out, NAMES)
            except BaseException:
                replacement.put_back(out, NAMES)
                raise
    _unsaved[out] = os.listdir(out)


def _end(out: Path, error: Exception | None = None) -> None:
    """Restore the folder, or record the error beside the saved state."""
    there = _unsaved.pop(out, None)
    mistake = error is None or isinstance(error, VaejaxError | OSError)
    replaces = replacement.is_left(out)
    if there is not None and (mistake or replaces):
        # The next command restores what this one cannot.
        with contextlib.suppress(OSError, VaejaxError):
            run_lock.check_held(out)
            replacement.remove(out, [name for name in NAMES if name not in there])
            replacement.put_back(out, NAMES)
    elif error is not None:
        record_failure(out, error)


def how_to_go_on(out: Path, overwrite: bool, resume: bool | None) -> str:
    """The sentence for a user who interrupted the run."""
    if out in _unsaved:
        return f"{out} is as it was before; the same command starts again"
    if resume is None:
        flag = "with --overwrite starts anew"
    elif overwrite:
        flag = "with --resume in the place of --overwrite continues from there"
    else:
        flag = "with --resume continues from there"
    return f"what is done is in {out}; the same command {flag}"


def record_failure(out: Path, error: Exception) -> None:
    """Write the error to the run's folder."""
    with contextlib.suppress(VaejaxError):  # a full disk must not hide the error
        write_text(out / "failure.txt", f"{str(error) or type(error).__name__}\n")


def write_json(path: Path, value: Any) -> None:
    """Write atomically: a reader sees the old file or the new one."""
    text = json.dumps(value, indent=2, default=str, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write atomically: a reader sees the old file or the new one.

    Raises:
        VaejaxError: it cannot be written.
    """
    run_lock.check_held(path.parent)
    temporary = path.with_name(WRITING.format(path.name))
    with write_errors_explained(path):
        try:
            temporary.unlink(missing_ok=True)  # what is there may be a link or a pipe
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


@contextlib.contextmanager
def write_errors_explained(path: Path) -> Iterator[None]:
    """Raise a `VaejaxError` for a file that cannot be written in the block."""
    try:
        yield
    except OSError as error:
        raise VaejaxError(
            f"cannot write {path} ({error.strerror}), but what was saved before is "
            "whole: make its folder writable, or free space on its disk"
        ) from error


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
        "precision": run_settings.precision(run_settings.in_x64()),
    }
