"""The settings of a run, as in its config.json, and the changes allowed on resuming."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from experiments.harness.config_file import X64, typed_settings
from experiments.harness.json_files import DamagedFileError, read_json
from vaejax.core import VaejaxError
from vaejax.core.ranges import shown

# Settings of how and where a run computes, on which the results do not depend.
PLACES = (
    *("prng", "sample_devices"),
    *("distributed", "coordinator", "num_processes", "process_id"),
)
# Settings of place, files and watching, which config.json omits.
NO_SETTINGS = {
    *("out", "overwrite", "resume"),
    *("tensorboard", "wandb", "mlflow", "profile", "snapshot_epochs"),
    *PLACES,
}
# Settings that may change on resuming: how a run is carried out, and the reaction to a
# failing step, which is only known once a step fails.
FREE = ("checkpoint_seconds", "checkpoint_steps", "on_nonfinite", "max_skipped")


def config_as_json(config: Any) -> dict[str, Any]:
    """The settings as plain JSON values, JAX's precision among them."""
    settings = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return settings | {X64: in_x64()}


def settings_of(config: Any) -> dict[str, Any]:
    """The settings that a run's results depend on."""
    settings = config_as_json(config)
    return {name: value for name, value in settings.items() if name not in NO_SETTINGS}


def saved_settings(out: Path, config_class: type) -> dict[str, Any]:
    """The settings in a run's config.json.

    Raises:
        DamagedFileError: it does not hold what the experiment wrote.
        VaejaxError: it cannot be read.
    """
    found = read_json(out / "config.json")
    check_types(found, config_class, out / "config.json")
    return found


def check_types(found: Any, config_class: type, path: Path) -> None:
    """Raise a `DamagedFileError` unless the settings in a file are of their types."""
    if not isinstance(found, dict):
        raise DamagedFileError(f"{path} holds no settings: use another --out")
    names = {X64, *(field.name for field in dataclasses.fields(config_class))}
    own = {name: value for name, value in found.items() if name in names}
    typed_settings(config_class, own, path)


def check_settings(
    before: dict[str, Any],
    config: Any,
    where: Path,
    free: Callable[[str, Any, Any], bool] = lambda name, before, now: False,
) -> None:
    """Raise a `VaejaxError` if the settings before differ from `config`'s.

    Settings in `FREE` may differ, and settings that `free(name, old, new)` accepts.
    """
    settings = settings_of(config)
    before = {X64: False} | before  # for folders that do not record it
    if before[X64] != settings[X64]:
        raise VaejaxError(
            f"{where} holds a run in {precision(before[X64])}, and JAX computes in "
            f"{precision(settings[X64])}: resume it under "
            f"JAX_ENABLE_X64={int(not settings[X64])}, or use another --out"
        )
    differing = [
        f"{name} was {shown(before.get(name))} and is {shown(settings.get(name))}"
        for name in sorted(before.keys() | settings.keys())
        if before.get(name) != settings.get(name)
        and name not in FREE
        and not free(name, before.get(name), settings.get(name))
    ]
    if differing:
        raise VaejaxError(
            f"{where} holds a run with other settings: {'; '.join(differing)}. "
            f"Resume it with its own settings, by --config {where} --resume, or use "
            "another --out"
        )


def in_x64() -> bool:
    """True if JAX computes in float64."""
    settings: Any = jax.config  # JAX does not declare its settings
    return settings.jax_enable_x64


def precision(x64: bool) -> str:
    """The name of the precision."""
    return "float64" if x64 else "float32"
