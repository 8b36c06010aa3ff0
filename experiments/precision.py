"""Measure how rounded matrix products change log p(x).

    python -m experiments.precision --checkpoint runs/train --out runs/precision

Images and samples are the same under each precision; the reference is float32.
`--matmul-precision` of experiments.train trains under one of the precisions.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Large, Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Measure how rounded matrix products change log p(x)."""

    checkpoint: Annotated[Path, option("DIR")]
    """run of experiments.train to evaluate on its test images"""
    precisions: Annotated[tuple[str, ...], option("NAME..")] = ("bfloat16",)
    """formats to compare with float32: tensorfloat32, bfloat16"""
    num_samples: Annotated[Large, option("S")] = 1000
    """importance samples per image"""
    out: Annotated[Path, option("DIR")] = Path("runs/precision")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""


if __name__ == "__main__":
    read_command_line(Config)

from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.table import Table

from experiments.harness import run_folder
from experiments.harness.terminal import console
from experiments.training.evaluate import evaluate
from experiments.training.load import load_trained
from vaejax.ops.matmul import matmul_precision


class Results(NamedTuple):
    """The figures per precision, in nats, and the folder of results.json."""

    summary: dict[str, dict[str, Any]]
    out: Path


def run(config: Config) -> Results:
    """Estimate the log-likelihood under every precision; write results.json.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    for name in config.precisions:
        matmul_precision(name)  # raises for an unknown name
    trained = load_trained(config.checkpoint)
    with run_folder.open_run(config.out, config, overwrite=config.overwrite):
        print(
            f"{len(trained.data.test.x)} images of {config.checkpoint}, "
            f"S = {config.num_samples}, under float32 and "
            f"{', '.join(config.precisions)} -> {config.out}"
        )

        def estimate(precision: str) -> np.ndarray:
            with matmul_precision(precision):
                return evaluate(
                    trained.run,
                    trained.params,
                    trained.run.keys.evaluate,
                    config.num_samples,
                ).log_px.astype(float)

        reference = estimate("float32")
        summary = {"float32": _compare(reference, reference)}
        for name in config.precisions:
            summary[name] = _compare(estimate(name), reference)
        run_folder.write_json(
            config.out / "results.json",
            {
                "log_likelihood": summary,
                "num_samples": config.num_samples,
                "num_examples": len(reference),
                "versions": run_folder.versions(),
            },
        )
        _show(summary)
        print(f"results: {config.out}")
        return Results(summary, config.out)


def _compare(log_px: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """The mean over images, and the differences of it and of images from float32."""
    difference = log_px - reference
    return {
        "mean": float(log_px.mean()),
        "difference": float(difference.mean()),
        "standard_error": float(difference.std() / np.sqrt(len(difference))),
        "largest": float(np.abs(difference).max()),
    }


def _show(summary: dict[str, dict[str, float]]) -> None:
    table = Table(box=box.SIMPLE)
    table.add_column("matrix products")
    for column in ("log-likelihood", "less float32", "largest, one image"):
        table.add_column(column, justify="right")
    for name, row in summary.items():
        table.add_row(
            name,
            f"{row['mean']:.3f}",
            f"{row['difference']:.4f} ± {row['standard_error']:.4f}",
            f"{row['largest']:.3f}",
        )
    console().print(table)


if __name__ == "__main__":
    run_main(Config, run)
