"""The test accuracy of a representation with few labels."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gallery.entry import Trained
from vaejax.core import PyTree
from vaejax.data import load as load_data
from vaejax.evaluation import fine_tuned_accuracy, linear_probe
from vaejax.evaluation.fine_tuning import Represent
from vaejax.plotting import Table

LABELS = (100, 1000)
STEPS = 600  # steps of fine-tuning
PIXELS = "pixels"


class FewLabels(NamedTuple):
    """Test accuracies by the number of labels and the network's start."""

    probe: dict[tuple[int, str], float]  # linear probe of the start
    tuned: dict[tuple[int, str], float]
    pixels: dict[int, float]  # the same probe of the raw images

    def numbers(self) -> dict[str, float]:
        """All accuracies, by name."""
        return {
            f"{kind}, {count} labels, {start}": value
            for kind, found in (("linear probe", self.probe), ("tuned", self.tuned))
            for (count, start), value in found.items()
        } | {f"linear probe, {n} labels, {PIXELS}": p for n, p in self.pixels.items()}

    def sentence(self, own: str, other: str) -> str:
        """Sentences that compare one start with the other and the raw pixels."""
        parts = [
            f"with {n} labels a linear probe is right in {self.probe[n, own]:.1%} "
            f"({other} {self.probe[n, other]:.1%}, raw pixels "
            f"{self.pixels[n]:.1%}) and the network, fine-tuned, in "
            f"{self.tuned[n, own]:.1%} ({other} {self.tuned[n, other]:.1%})"
            for n in LABELS
        ]
        won = [
            found[n, own] > found[n, other]
            for n in LABELS
            for found in (self.probe, self.tuned)
        ]
        above = [self.probe[n, own] > self.pixels[n] for n in LABELS]
        return (
            "; ".join(parts) + f". {own.capitalize()} is better than {other} in "
            f"{sum(won)} of {len(won)} comparisons, and its probe better than that of "
            f"raw pixels in {sum(above)} of {len(above)}"
        )

    def table(self) -> Table:
        """A row for every start and number of labels, and for the pixels."""
        rows: list[list[Any]] = [
            [start, count, self.probe[count, start], self.tuned[count, start]]
            for count, start in self.probe
        ] + [[PIXELS, n, accuracy, None] for n, accuracy in self.pixels.items()]
        return Table(["start", "labels", "linear probe", "fine-tuned"], rows)


def few_labels(
    trained: Trained, represent: Represent, starts: Mapping[str, PyTree]
) -> FewLabels:
    """Probe and fine-tune from each start, on the first training images."""
    config = trained.config
    found = load_data(
        config.dataset, protocol=trained.data.protocol, data_dir=config.data_dir
    )
    assert found.labels is not None  # the data set has labels
    x = found.observations(rows=slice(max(LABELS)))
    y = found.labels[: max(LABELS)]
    test_x, test_y = trained.data.test.x, np.asarray(trained.data.test_labels)
    codes: Any = jax.jit(jax.vmap(represent, (None, 0)))
    flat, test_flat = (np.asarray(a).reshape(len(a), -1) for a in (x, test_x))
    pixels = {n: linear_probe(flat[:n], y[:n], test_flat, test_y) for n in LABELS}
    result = FewLabels({}, {}, pixels)
    for start, weights in starts.items():
        train_codes, test_codes = (np.asarray(codes(weights, a)) for a in (x, test_x))
        for n in LABELS:
            seen = train_codes[:n], y[:n]
            result.probe[n, start] = linear_probe(*seen, test_codes, test_y)
            result.tuned[n, start] = fine_tuned_accuracy(
                represent,
                weights,
                (x[:n], jnp.asarray(y[:n])),
                (test_x, jnp.asarray(test_y)),
                jax.random.key(2),
                steps=STEPS,
                batch_size=50,
            )
    return result
