"""Export a trained model: weights, programs and a model card.

    python -m experiments.export --checkpoint runs/vae --out export

weights.safetensors          the parameters by path
encode.jax_export            the mean of q(z | x): StableHLO, for any number of examples
decode.jax_export            the mean of p(x | z)
log_likelihood.jax_export    log p(x) by importance sampling, in nats
README.md                    the model card, which says how to read them
"""

import dataclasses
import importlib
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import option, read_command_line, run_main
from experiments.harness.settings import Large, Settings
from vaejax.core.ranges import CountOrZero


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Export a trained model to files that are read without vaejax."""

    checkpoint: Annotated[Path, option("DIR")]
    """run of experiments.train"""
    out: Annotated[Path, option("DIR")]
    """folder of the export"""
    num_samples: Annotated[Large, option("S")] = 1000
    """importance samples of each log p(x)"""
    model_seed: Annotated[CountOrZero, option("N")] = 0
    """model to export, of a run with --num-seeds"""
    overwrite: bool = False
    """replace the files in --out"""


if __name__ == "__main__":
    read_command_line(Config)

from experiments.exporting.card import card
from experiments.harness.config_file import X64, typed_settings
from experiments.harness.extras import import_extra
from experiments.harness.json_files import read_json
from experiments.harness.run_folder import write_errors_explained
from experiments.training.config import Config as Training
from vaejax.core import VaejaxError
from vaejax.core.files import write_whole
from vaejax.trained import load
from vaejax.trained.exported import programs, weights


def run(config: Config) -> Path:
    """Write the export; return its folder.

    Raises:
        VaejaxError: a folder that is there, a run that cannot be loaded, or packages
            that are not installed.
    """
    import_extra("flatbuffers")  # with which JAX writes programs
    import_extra("safetensors")
    safetensors = importlib.import_module("safetensors.numpy")
    out = config.out
    if out.exists() and not config.overwrite:
        raise VaejaxError(f"{out} is there: use --overwrite, or another --out")
    trained = load(config.checkpoint, seed=config.model_seed)
    path = config.checkpoint / "config.json"
    settings = {name: v for name, v in trained.config.items() if name != X64}
    training = Training(**typed_settings(Training, settings, path))
    results = config.checkpoint / "results.json"
    known = read_json(results) if results.exists() else {}
    made = programs(trained, config.num_samples)
    text = card(trained, training, known, made, config.num_samples)
    files = {f"{name}.jax_export": bytes(of.serialize()) for name, of in made.items()}
    files["weights.safetensors"] = safetensors.save(weights(trained))
    files["README.md"] = text.encode()
    with write_errors_explained(out):
        for name, content in files.items():
            write_whole(out / name, content)
    print(f"{', '.join(sorted(files))}: {out}")
    return out


if __name__ == "__main__":
    run_main(Config, run)
