"""What every experiment's command line shares: parsing, exit codes, progress."""

import contextlib
import dataclasses
import os
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import jax
import tyro
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.harness.terminal import console, forgiving_output
from vaejax.core import VaejaxError

CACHE_MEGABYTES = 512  # of compiled programs, about 1 a run


def option(metavar: str, help: str | None = None) -> Any:
    """How an option is shown by --help, in one line: short, and no default of None."""

    def hint(default: str) -> str:
        return "" if default in ("None", "") else f"(default: {default})"

    return tyro.conf.arg(metavar=metavar, help=help, help_behavior_hint=hint)


def run_main(config_class: type, run: Callable[[Any], Any]) -> NoReturn:
    """Parse the command line into `config_class`, run it, and exit.

    The exit code is 0; 2 after one message for a user's mistake; 130 when interrupted,
    by Ctrl-C or a scheduler's SIGTERM.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    use_compilation_cache()
    path = Path(sys.argv[0])  # of a package its __main__.py
    name = path.parent.name if path.stem == "__main__" else path.stem
    with forgiving_output():
        try:
            config: Any = tyro.cli(
                config_class,
                prog=f"python -m experiments.{name}",
                config=(tyro.conf.FlagCreatePairsOff,),
            )
            run(config)
        except (VaejaxError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            _leave(2)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0] or "Python had no more"
            print(
                f"error: not enough memory for {command_of(name, config)} ({reason}): "
                "lower the numbers that count samples, examples, draws or units",
                file=sys.stderr,
            )
            _leave(2)
        except KeyboardInterrupt as interrupt:
            how = str(interrupt) or "nothing was changed; the same command starts again"
            print(f"interrupted: {how}", file=sys.stderr)
            _leave(130)
    sys.exit(0)


def is_out_of_memory(error: Exception) -> bool:
    """True if Python, NumPy or JAX asked for memory that there is not."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _leave(code: int) -> NoReturn:
    """Exit; as one of several processes without waiting for those that wait for it.

    Process 0 goes last: without the service that it holds, JAX aborts the others.
    """
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(2 if jax.process_index() == 0 else 0)
        os._exit(code)
    sys.exit(code)


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, so that a second run need not compile them.

    In `$XDG_CACHE_HOME/vaejax/jax`, or `~/.cache/vaejax/jax`, unless JAX is told where
    by JAX_COMPILATION_CACHE_DIR, or not to by JAX_ENABLE_COMPILATION_CACHE=false. A
    folder that cannot be written to is done without.
    """
    settings: Any = jax.config  # its settings are attributes that it does not declare
    if not settings.jax_enable_compilation_cache:
        return
    if settings.jax_compilation_cache_dir is None:
        try:
            home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            folder = Path(home, "vaejax", "jax")
            folder.mkdir(parents=True, exist_ok=True)
            _trim(folder, CACHE_MEGABYTES * 2**20)
        except (OSError, RuntimeError):  # RuntimeError: there is no home
            return
        if not os.access(folder, os.W_OK):
            return
        settings.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # A hundred small programs take as long to compile as the training step.
        settings.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # A full disk, or an entry that a killed process left half written: JAX compiles.
    warnings.filterwarnings("ignore", message=r"Error \w+ persistent compilation cache")


def _trim(folder: Path, max_bytes: int) -> None:
    """Remove the oldest half of a cache that has grown too large.

    JAX's own bound, jax_compilation_cache_max_size, reads the whole folder for every
    program that it adds.
    """
    with os.scandir(folder) as entries:
        found = sorted((e.stat().st_mtime, e.stat().st_size, e.path) for e in entries)
    total = sum(size for _, size, _ in found)
    if total <= max_bytes:
        return
    for _, size, path in found:
        if total <= max_bytes // 2:
            return
        Path(path).unlink(missing_ok=True)  # another process may have been faster
        total -= size


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def noted_interrupts() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C or SIGTERM, for the block to end where it is whole.

    Yields whether one came. The block ends with it at the latest; a second interrupts
    at once. Outside the main thread, where Python handles no signals, none is noted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    noted: list[int] = []
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(noted)
    finally:
        restore()
    if noted:
        raise KeyboardInterrupt


def command_of(experiment: str, config: Any) -> str:
    """What is typed to run an experiment with these settings, in a folder of its own.

    A setting that has its default is left out.
    """
    words = ["python", "-m", f"experiments.{experiment}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default or field.name in ("overwrite", "resume"):
            continue
        words.append("--" + field.name.replace("_", "-"))
        if value is not True:
            words += map(str, value if isinstance(value, tuple) else (value,))
    return shlex.join(words)


@contextlib.contextmanager
def progress_bar(
    description: str, total: float, unit: str
) -> Iterator[Callable[..., None]]:
    """Show a bar with throughput and time left; nothing unless on a terminal.

    Yields `update(done, note)`: how many units are done so far, and what to say, if it
    is something new.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(description, total=total, note="")

        def update(done: float, note: str | None = None) -> None:
            if note is not None:
                bar.update(task, note=note)
            bar.update(task, completed=done)

        yield update
