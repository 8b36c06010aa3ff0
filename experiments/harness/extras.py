"""Packages that only some runs need."""

import importlib
from typing import Any

from vaejax.core import VaejaxError

EXTRAS = {  # by option: its package, and the extra that installs it
    "tensorboard": ("tensorboardX", "watch"),
    "wandb": ("wandb", "wandb"),
    "mlflow": ("mlflow", "mlflow"),
    "ray": ("ray", "cluster"),
    "safetensors": ("safetensors", "export"),
    "flatbuffers": ("flatbuffers", "export"),
}


def import_extra(name: str) -> Any:
    """Import the package that `EXTRAS` names.

    Raises:
        VaejaxError: it is not installed.
    """
    package, extra = EXTRAS[name]
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise VaejaxError(
            f"{package} is not installed: pip install -e '.[{extra}]' in vaejax's "
            "folder, or leave out the option that needs it"
        ) from error
