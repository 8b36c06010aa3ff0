"""The folder of a run: what is in it, and when it may be written to.

config.json      the settings
metrics.jsonl    a line an epoch
checkpoints/     the state, from which a run goes on
results.json     written last: a folder that has it is finished
figures/         pictures
"""

import csv
import dataclasses
import importlib.metadata
import io
import json
import os
import platform
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from vaejax.core import VaejaxError

FILES = ("config.json", "metrics.jsonl", "results.json", "results.csv", "report.html")
FOLDERS = ("checkpoints", "figures")


def config_as_json(config: Any) -> dict[str, Any]:
    """The settings as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def open_run(
    out: Path, config: Any, *, overwrite: bool, resume: bool | None = None
) -> None:
    """Make `out` ready for the run of `config`, or say why it is not.

    `resume` is None for an experiment that cannot be resumed.

    Raises:
        VaejaxError: it holds a finished run, or an unfinished one that is not to be
            resumed, or one with other settings; or it cannot be written to.
    """
    if overwrite and resume:
        raise VaejaxError(
            "--overwrite starts anew and --resume goes on: leave one of them out"
        )
    settings = config_as_json(config)
    for name in ("out", "overwrite", "resume"):
        settings.pop(name, None)
    if overwrite and (out / "config.json").exists():
        before = read_json(out / "config.json")
        if not isinstance(before, dict) or before.keys() != settings.keys():
            raise VaejaxError(
                f"{out} holds another experiment's run, which --overwrite leaves "
                "alone: use another --out, or remove it yourself"
            )
        clear(out)
    if (out / "results.json").exists():
        raise VaejaxError(
            f"{out} holds a finished run: use another --out, or --overwrite to replace "
            "it"
        )
    if (out / "config.json").exists():
        if not resume:
            go_on = "" if resume is None else "--resume to go on with it, "
            raise VaejaxError(
                f"{out} holds an unfinished run: use {go_on}--overwrite to start anew, "
                "or another --out"
            )
        before = read_json(out / "config.json")
        differing = [
            f"{name} was {before.get(name)!r} and is {settings.get(name)!r}"
            for name in sorted(before.keys() | settings.keys())
            if before.get(name) != settings.get(name)
        ]
        if differing:
            raise VaejaxError(
                f"{out} holds a run with other settings: {'; '.join(differing)}. "
                "Resume it with its own settings, or use another --out"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "config.json", settings)
    except OSError as error:
        reason = "it is a file" if out.is_file() else error.strerror
        raise VaejaxError(
            f"cannot write to the folder {out} ({reason}): use another --out"
        ) from error


def clear(out: Path) -> None:
    """Remove what a run writes, and nothing else."""
    for name in FILES:
        (out / name).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write atomically: a reader sees the old file or the new one."""
    text = json.dumps(value, indent=2, default=str, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write atomically: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text)
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        VaejaxError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise VaejaxError(
            f"cannot read {path} ({error}): name the folder of a run that "
            "experiments.train wrote"
        ) from error


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict]) -> None:
    """Write a line a row; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_rows(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, an epoch each."""
    return [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]


def write_rows(out: Path, rows: list[dict[str, Any]]) -> None:
    """Replace metrics.jsonl, as by the epochs up to a checkpoint."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_text(out / "metrics.jsonl", lines)


def append_row(out: Path, row: dict[str, Any]) -> None:
    """Add an epoch to metrics.jsonl."""
    with (out / "metrics.jsonl").open("a") as lines:
        lines.write(json.dumps(row) + "\n")


def versions() -> dict[str, str]:
    """The versions that a result depends on, and the device it was computed on."""
    packages = ("vaejax", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    device = jax.devices()[0]
    return {**found, "device": f"{device.platform} {device.device_kind}"}
