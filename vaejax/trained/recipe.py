"""The recipe of a model: what a run keeps so that its model can be built without data.

model.json    the model's name and settings, and what its observations are
model.npz     the arrays that the model has from its data
"""

import contextlib
import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.core import Model, VaejaxError, build, record
from vaejax.core.errors import unknown
from vaejax.core.files import write_whole
from vaejax.data import PROTOCOLS
from vaejax.data.archives import read_arrays
from vaejax.data.files import read_small
from vaejax.data.standardize import Standardization
from vaejax.data.types import Column
from vaejax.models import MODELS

LARGEST = 2**28  # bytes of a file
UNITS = Standardization._fields  # names of arrays, too
FROM_DATA = ("data_mean", "exemplars")  # settings of models that are arrays


@record
class Recipe:
    """A registered model, with all that it has from its data, and their protocol."""

    model: str  # a name in `MODELS`
    settings: tuple[str, ...] = ()  # as a command line has them
    data_shape: tuple[int, ...]  # of one observation, as it is stored
    protocol: str  # a name in `PROTOCOLS`
    num_seeds: int = 1  # models that were trained side by side
    class_names: tuple[str, ...] = ()  # of the labels 0, 1, ...
    columns: tuple[Column, ...] = ()  # of a table
    standardization: Standardization | None = None  # of real numbers
    data_mean: np.ndarray | None = None  # as the model sees observations
    exemplars: np.ndarray | None = None

    def build(self) -> Model:
        """Build the model.

        Raises:
            VaejaxError: an unknown name, or a setting that cannot be.
        """
        arrays = {name: getattr(self, name) for name in FROM_DATA}
        given = {name: array for name, array in arrays.items() if array is not None}
        follows = {"data_shape": self.data_shape, **given}
        return build(MODELS, self.model, self.settings, follows)


def write_recipe(folder: Path, recipe: Recipe, **notes: Any) -> None:
    """Write model.json and model.npz, with notes that reading leaves out.

    Raises:
        OSError: they cannot be written.
    """
    fields = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
    arrays = {name: fields.pop(name) for name in FROM_DATA}
    if units := fields.pop("standardization"):
        arrays |= units._asdict()
    packed = io.BytesIO()
    given = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(packed, **given)
    write_whole(folder / "model.npz", packed.getvalue())
    text = json.dumps(fields | notes, indent=2) + "\n"
    write_whole(folder / "model.json", text.encode())


def read_recipe(folder: Path) -> Recipe:
    """Read the recipe of a run.

    Raises:
        VaejaxError: there is none, or it is damaged; an unknown protocol.
    """
    with faults_explained(folder):
        fields = read_object(folder / "model.json")
        arrays = read_arrays(folder / "model.npz", LARGEST)
        units = [arrays.pop(name) for name in UNITS if name in arrays]
        recipe = Recipe(
            model=fields["model"],
            settings=tuple(fields["settings"]),
            data_shape=tuple(fields["data_shape"]),
            protocol=fields["protocol"],
            num_seeds=fields["num_seeds"],
            class_names=tuple(fields["class_names"]),
            columns=tuple(
                Column(name, kind, tuple(categories))
                for name, kind, categories in fields["columns"]
            ),
            standardization=Standardization(*units) if units else None,
            **arrays,
        )
    if recipe.protocol not in PROTOCOLS:
        raise unknown("protocol", recipe.protocol, PROTOCOLS)
    return recipe


def read_object(path: Path) -> dict[str, Any]:
    """Read the object that is all of a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds anything else.
    """
    found = json.loads(read_small(path, LARGEST))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return found


@contextlib.contextmanager
def faults_explained(folder: Path) -> Iterator[None]:
    """Raise a `VaejaxError` for a file of a run that cannot be read in the block."""
    try:
        yield
    except OSError as error:
        raise VaejaxError(
            f"cannot read the model of {folder} ({error.filename}: {error.strerror}): "
            "name the folder of a run that experiments.train wrote"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise VaejaxError(
            f"the model of {folder} is damaged ({type(error).__name__}: {error}): "
            "restore its .json and .npz files from a copy, or resume the run, which "
            "writes them again"
        ) from error
