"""The command line of every experiment: parsing, exit codes, settings.

python -m experiments.train --help          the settings, and their defaults
python -m experiments.train --list models   the names that a setting takes
python -m experiments.train --config FILE   settings of a file; flags override it
"""

import contextlib
import dataclasses
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from experiments.harness.arguments import Option, flags_of, read_words, values_of
from experiments.harness.config_file import read_settings
from experiments.harness.help import help_text
from experiments.harness.interrupts import handled, interrupt
from experiments.harness.registered import check_names
from experiments.harness.terminal import forgiving_output
from vaejax.core import VaejaxError

option = Option


def parse(config_class: type, words: Sequence[str]) -> Any:
    """The `Config` that a command line asks for.

    Raises:
        VaejaxError: a flag, a value or a combination that cannot be.
    """
    flags = flags_of(config_class)
    given = read_words(flags, words)
    settings: dict[str, Any] = {}
    if files := given.get("config"):
        settings = read_settings(config_class, Path(files[0]))
    settings |= values_of(flags, given)
    for flag in flags:
        if flag.default is dataclasses.MISSING and flag.name not in settings:
            raise VaejaxError(f"{flag.usage} is missing: give the {flag.help}")
    config = config_class(**settings)
    check_names(flags, config)
    return config


def read_command_line(config_class: type) -> Any:
    """The `Config` of this process; --help, --list or a mistake ends the process.

    A command calls this function before it imports JAX, to answer within a second.
    """
    words = sys.argv[1:]
    with forgiving_output():
        try:
            given = read_words(flags_of(config_class), words)
            if "help" in given:
                print(help_text(_command(), config_class))
                sys.exit(0)
            if "list" in given:
                from experiments.harness.listing import print_names  # imports JAX

                print_names(*given["list"])
                sys.exit(0)
            return parse(config_class, words)
        except (VaejaxError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)


def run_main(config_class: type, run: Callable[[Any], Any]) -> NoReturn:
    """Parse the command line into `config_class`, run it, and exit.

    The exit code is 0; 2 after one message for a user's mistake; 130 when interrupted,
    by Ctrl-C or a scheduler's SIGTERM.
    """
    config = read_command_line(config_class)
    import jax

    from experiments.harness.compilation_cache import use_compilation_cache

    use_compilation_cache()
    signals = signal.SIGINT, signal.SIGTERM, signal.SIGALRM
    with forgiving_output():
        try:
            with handled(interrupt, *signals), _own_code(config_class):
                run(config)
        except (VaejaxError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            _leave(2)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0] or "Python could allocate no more"
            print(
                f"error: not enough memory for {command_of(_command(), config)} "
                f"({reason}): "
                "lower the number of samples, examples, draws or units",
                file=sys.stderr,
            )
            _leave(2)
        except KeyboardInterrupt as interrupted:
            how = str(interrupted) or "what was saved is whole; the same command " + (
                "starts again, or says how to go on"
            )
            print(f"interrupted: {how}", file=sys.stderr)
            _leave(130)
    sys.exit(0)


@contextlib.contextmanager
def _own_code(config_class: type) -> Iterator[None]:
    """Run the user's code that is typed; code that a file names, if `--trust` is."""
    from vaejax.core import own_code  # imports JAX

    given = read_words(flags_of(config_class), sys.argv[1:])
    with own_code.trusting("trust" in given), contextlib.ExitStack() as stack:
        for path in given.get("config", ()):
            stack.enter_context(own_code.of_file(Path(path)))
        yield


def _command() -> str:
    """The command's name, as in `python -m experiments.NAME`."""
    path = Path(sys.argv[0])  # a package's is its __main__.py
    return path.parent.name if path.stem == "__main__" else path.stem


def is_out_of_memory(error: Exception) -> bool:
    """True if Python, NumPy or JAX ran out of memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _leave(code: int) -> NoReturn:
    """Exit; one of several processes exits without waiting for the others.

    Process 0 exits last: without its coordination service, JAX aborts the others.
    """
    import jax

    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(2 if jax.process_index() == 0 else 0)
        os._exit(code)
    sys.exit(code)


def command_of(experiment: str, config: Any) -> str:
    """The command that runs an experiment with these settings in a new folder.

    The command omits settings at their defaults, and shows a path outside the working
    folder by its last part: it stands in reports, which others read.
    """
    words = ["python", "-m", f"experiments.{experiment}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default or field.name in ("overwrite", "resume"):
            continue
        words.append("--" + field.name.replace("_", "-"))
        if value is not True:
            words += map(_portable, value if isinstance(value, tuple) else (value,))
    return shlex.join(words)


def _portable(value: Any) -> str:
    path = Path(str(value))  # a data set may be a path, too
    if not path.is_absolute():
        return str(value)
    inside = path.is_relative_to(Path.cwd())
    return str(path.relative_to(Path.cwd())) if inside else path.name
