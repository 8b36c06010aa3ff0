"""The settings of a training that takes a second, for tests of all around it."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments import train


def tiny(out: Path, **more: Any) -> train.Config:
    config = train.Config(
        dataset="digits",
        model_settings=("latent_dim=2", "hidden=8"),
        epochs=1,
        eval_num_samples=7,
        eval_examples=20,
        out=out,
    )
    return dataclasses.replace(config, **more)
