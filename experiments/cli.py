"""What every experiment's command line shares."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import tyro

from vaejax.core import VaejaxError


def run_main(config_class: type, run: Callable[[Any], Any]) -> NoReturn:
    """Parse the command line into `config_class`, run it, and exit.

    The exit code is 0, or 2 after one message for a user's mistake.
    """
    config: Any = tyro.cli(config_class, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        run(config)
    except VaejaxError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
