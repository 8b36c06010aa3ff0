"""Packages that only some runs need."""

import importlib
from typing import Any

from vaejax.core import VaejaxError


def import_extra(package: str, extra: str) -> Any:
    """Import a package that the extra of that name installs.

    Raises:
        VaejaxError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise VaejaxError(
            f"{package} is not installed: pip install -e '.[{extra}]' in vaejax's "
            "folder, or leave out the option that needs it"
        ) from error
