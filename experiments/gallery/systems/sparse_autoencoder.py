"""Sparse autoencoders: few units at a time, out of a large dictionary."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Array

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.gallery.systems.autoencoder import squared_error
from experiments.training.config import Config
from vaejax.core import Example
from vaejax.data import load as load_data
from vaejax.evaluation import linear_probe, posterior_means
from vaejax.models.sparse_autoencoder import dictionary
from vaejax.plotting import Picture, Table, image_grid

LAMBDAS = (0.0, 0.05, 0.2, 0.5)
KEPT = 25
PROBED = 5000  # training images that the linear probe learns from


def _trainings(epochs: int, atoms: int) -> dict[str, Config]:
    kinds = {f"lambda_{l1:g}": f"l1={l1}" for l1 in LAMBDAS} | {"k_sparse": f"k={KEPT}"}
    return {
        label: Config(
            dataset="mnist",
            protocol="none",
            model="sparse_autoencoder",
            model_settings=(f"latent_dim={atoms}", setting),
            bound="reconstruction",
            estimator="pathwise",
            epochs=epochs,
        )
        for label, setting in kinds.items()
    }


def _show(trained: Mapping[str, Trained]) -> Shown:
    first = trained["lambda_0"]
    found = load_data("mnist", protocol="none", data_dir=first.config.data_dir)
    labels = found.labels
    assert labels is not None  # MNIST has labels
    images = found.observations(rows=slice(PROBED))

    def probed(codes: Array | np.ndarray, test: Array | np.ndarray) -> float:
        flat, test_flat = (np.asarray(a).reshape(len(a), -1) for a in (codes, test))
        test_labels = np.asarray(first.data.test_labels)
        return linear_probe(flat, labels[:PROBED], test_flat, test_labels)

    rows: list[list[Any]] = []
    for label, one in trained.items():
        codes = posterior_means(one.model, one.params, Example(images))
        test = posterior_means(one.model, one.params, one.data.test)
        probe = probed(codes, test)
        active = float((test != 0).sum(1).mean())
        used = int((test != 0).any(0).sum())
        error = squared_error(one, one.data.test.x)
        rows.append([_named(label), active, used, error, probe])
    pixels = probed(images, first.data.test.x)
    below = [row[0] for row in rows if row[4] <= pixels]
    by_l1 = [row[1] for row in rows[: len(LAMBDAS)]]
    falls = all(more > less for more, less in pairwise(by_l1))
    units = len(dictionary(trained["k_sparse"].model, trained["k_sparse"].params))
    last = rows[len(LAMBDAS) - 1]
    return Shown(
        numbers={
            f"{what} at {row[0]}": value
            for row in rows
            for what, value in (
                ("active units", row[1]),
                ("test squared error", row[3]),
                ("linear probe", row[4]),
            )
        }
        | {"linear probe of pixels": pixels},
        finding=(
            f"of {units} units {by_l1[0]:.1f} are active in a test image without a "
            f"penalty and {by_l1[-1]:.1f} at lambda = {LAMBDAS[-1]:g} "
            f"({'falling' if falls else 'not always falling'} from each lambda to the "
            f"next), at squared errors of {rows[0][3]:.2f} and "
            f"{last[3]:.2f}; a linear classifier of the codes is right in "
            f"{rows[0][4]:.1%} and {last[4]:.1%}. {KEPT} units kept: {rows[-1][3]:.2f} "
            f"and {rows[-1][4]:.1%}. The same classifier of the raw pixels is right in "
            f"{pixels:.1%}; no better than that are the codes of "
            f"{', '.join(below) or 'none'}."
        ),
        figures=[
            _atoms(trained["lambda_0"], "Atoms without a penalty"),
            _atoms(trained["lambda_0.2"], "Atoms at lambda = 0.2, the most used first"),
            _atoms(trained["k_sparse"], f"Atoms of which {KEPT} are kept"),
        ],
        tables=[
            Table(
                [
                    *("penalty", "active units of an image", "units ever active"),
                    *("squared error of an image", "linear probe"),
                ],
                [*rows, ["raw pixels", None, None, None, pixels]],
                f"MNIST test images; the probe learns from {PROBED} labels.",
            )
        ],
    )


def _named(label: str) -> str:
    return label.replace("lambda_", "lambda = ").replace("k_sparse", f"{KEPT} kept")


def _atoms(one: Trained, title: str, count: int = 60) -> Picture:
    """The atoms that are used most, each from its darkest to its brightest pixel."""
    use = np.abs(posterior_means(one.model, one.params, one.data.test)).mean(0)
    atoms = np.asarray(dictionary(one.model, one.params))[np.argsort(-use)[:count]]
    reach = np.abs(atoms).max((1, 2, 3), keepdims=True)
    return image_grid(0.5 + atoms / reach / 2, title, columns=15)


sparse_autoencoder = Entry(
    title="Sparse autoencoders",
    text=(
        "A dictionary of more atoms than an image needs, and a code that uses few: by "
        "an L1 penalty on ReLU units, or by keeping the k largest (Makhzani and Frey "
        "2013, arXiv:1312.5663)."
    ),
    presets={"short": _trainings(4, 256), "paper": _trainings(200, 1000)},
    show=_show,
)
