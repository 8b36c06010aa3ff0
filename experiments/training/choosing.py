"""A run keeps the parameters of its last epoch, or of each seed's best one.

Every epoch has a score of every seed: the ELBO on the validation split where a KL
weight changes during training, since losses of different weights do not compare, and
else minus the loss. The test split chooses nothing.
"""

from typing import Any, NamedTuple

import numpy as np

from experiments.training.config import Config
from vaejax.training.schedules import NO_DECAY

Epoch = dict[str, Any]  # a line of metrics.jsonl


class Selection(NamedTuple):
    """The rule by which a run keeps an epoch and ends."""

    by_validation: bool  # keep the best epoch, and not the last
    patience: int | None  # epochs without a better score after which training ends
    score: str  # the metric on the validation split: loss, or elbo
    num_seeds: int

    @property
    def uses_validation(self) -> bool:
        """True if the validation split decides anything."""
        return self.by_validation or self.patience is not None

    def best_rows(self, rows: list[Epoch]) -> list[Epoch]:
        """The row of every seed's best epoch, the first of equally good ones."""
        by_seed = np.array([self._scores(row) for row in rows])
        return [rows[epoch] for epoch in by_seed.argmax(0)]

    def is_over(self, rows: list[Epoch]) -> bool:
        """True if `patience` epochs have passed without a better score of any seed."""
        if self.patience is None or not rows:
            return False
        last_best = max(row["epoch"] for row in self.best_rows(rows))
        return rows[-1]["epoch"] - last_best >= self.patience

    def chosen_epoch(self, rows: list[Epoch]) -> dict[str, Any]:
        """The entry of results.json: which epoch is kept, by what, out of which.

        The metrics on the validation split are those of that epoch, over the seeds.
        """
        best = self.by_validation
        chosen = self.best_rows(rows) if best else rows[-1:] * self.num_seeds

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
            "by": f"validation {self.score}" if best else "last",
            "epoch": of_seeds("epoch"),
            "step": of_seeds("step"),
            "out_of": len(rows),
            "validation": validation,
        }

    def _scores(self, row: Epoch) -> list[float]:
        """Every seed's score, the higher the better."""
        sign = 1 if self.score == "elbo" else -1
        return [sign * value for value in _by_seed(row)[self.score]]


def selection_of(config: Config) -> Selection:
    """The rule of a run: by validation if asked, or if no learning rate decays."""
    by_validation = config.select == "validation"
    if config.select is None:
        by_validation = config.schedule in NO_DECAY or config.patience is not None
    return Selection(
        by_validation,
        config.patience,
        "elbo" if config.kl_weight else "loss",
        config.num_seeds,
    )


def _by_seed(row: Epoch) -> dict[str, list[float]]:
    """The metrics on the validation split, of every seed."""
    alone = {name: [value] for name, value in row["validation"].items()}
    return row.get("validation_by_seed", alone)
