"""Which epoch's parameters a run keeps: the last one's, or each seed's best.

Every epoch has a score of every seed: the ELBO on the validation split where a KL
weight changes during training, since losses of different weights do not compare, and
else minus the loss. The test split chooses nothing.
"""

from typing import Any

import numpy as np

from experiments.training.config import Config
from vaejax.training.schedules import NO_DECAY

Epoch = dict[str, Any]  # a line of metrics.jsonl


def by_validation(config: Config) -> bool:
    """True if the best epoch is kept, and not the last."""
    if config.select is None:
        return config.schedule in NO_DECAY or config.patience is not None
    return config.select == "validation"


def uses_validation(config: Config) -> bool:
    """True if the validation split decides anything."""
    return by_validation(config) or config.patience is not None


def best_rows(config: Config, rows: list[Epoch]) -> list[Epoch]:
    """The row of every seed's best epoch: the first of those with the highest score."""
    by_seed = np.array([_scores(config, row) for row in rows])
    return [rows[epoch] for epoch in by_seed.argmax(0)]


def is_over(config: Config, rows: list[Epoch]) -> bool:
    """True if `patience` epochs have passed without a better score of any seed."""
    if config.patience is None or not rows:
        return False
    last_best = max(row["epoch"] for row in best_rows(config, rows))
    return rows[-1]["epoch"] - last_best >= config.patience


def chosen_epoch(config: Config, rows: list[Epoch]) -> dict[str, Any]:
    """The entry of results.json that says which epoch is kept, by what, out of which.

    The metrics on the validation split are those of that epoch, over the seeds.
    """
    best = by_validation(config)
    chosen = best_rows(config, rows) if best else rows[-1:] * config.num_seeds

    def of_seeds(name: str) -> Any:
        values = [row[name] for row in chosen]
        return values if best and len(values) > 1 else values[0]

    validation = None
    if chosen[0]["validation"] is not None:
        validation = {
            name: float(
                np.mean([_by_seed(row)[name][n] for n, row in enumerate(chosen)])
            )
            for name in chosen[0]["validation"]
        }
    return {
        "by": f"validation {_score_name(config)}" if best else "last",
        "epoch": of_seeds("epoch"),
        "step": of_seeds("step"),
        "out_of": len(rows),
        "validation": validation,
    }


def _score_name(config: Config) -> str:
    return "elbo" if config.kl_weight else "loss"


def _scores(config: Config, row: Epoch) -> list[float]:
    """Every seed's score, the higher the better."""
    name = _score_name(config)
    sign = 1 if name == "elbo" else -1
    return [sign * value for value in _by_seed(row)[name]]


def _by_seed(row: Epoch) -> dict[str, list[float]]:
    """The metrics on the validation split, of every seed."""
    alone = {name: [value] for name, value in row["validation"].items()}
    return row.get("validation_by_seed", alone)
